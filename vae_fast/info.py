"""What was built, what is active on which device, and why each other backend is not."""

from __future__ import annotations

import platform
import sys

import numpy
import torch

from .ops import extension
from .ops.backend import get_backend
from .version import __version__


def lines() -> list[str]:
    """The report of `vae-fast info`, line by line."""
    chosen = get_backend()
    cpu = (
        f"compiled kernels, {extension.cpu_isa}"
        if extension.cpu_loaded()
        else f"not available: {extension.cpu_missing}"
    )
    serves_cpu = "cpu" if extension.cpu_loaded() and chosen != "reference" else "reference"
    report = [
        f"vae_fast   {__version__}",
        f"python     {platform.python_version()}",
        f"torch      {torch.__version__}",
        f"numpy      {numpy.__version__}",
        f"threads    {torch.get_num_threads()}",
        "",
        "backends",
        f"  cpu        {cpu}",
        "  cuda       not available: this version has no CUDA kernels",
        "  triton     not available: this version has no Triton kernels",
        "  reference  plain PyTorch, on every device",
        "",
        f"active (backend {chosen!r})",
        f"  cpu tensors    {serves_cpu}",
    ]
    if torch.cuda.is_available():
        cuda = "an error" if chosen == "cpu" else "reference"
        report.append(f"  cuda tensors   {cuda}")
    return report


def main() -> int:
    """Prints the report."""
    print("\n".join(lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
