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
    cuda = (
        "compiled kernels"
        if extension.cuda_loaded()
        else f"not available: {extension.cuda_missing}"
    )
    report = [
        f"vae_fast   {__version__}",
        f"python     {platform.python_version()}",
        f"torch      {torch.__version__}",
        f"numpy      {numpy.__version__}",
        f"threads    {torch.get_num_threads()}",
        "",
        "backends",
        f"  cpu        {cpu}",
        f"  cuda       {cuda}",
        "  triton     not available: this version has no Triton kernels",
        "  reference  plain PyTorch, on every device",
        "",
        f"active (backend {chosen!r})",
        f"  cpu tensors    {_serves('cpu', extension.cpu_loaded())}",
    ]
    if torch.cuda.is_available():
        report.append(f"  cuda tensors   {_serves('cuda', extension.cuda_loaded())}")
    return report


def _serves(device: str, loaded: bool) -> str:
    """What computes on the tensors of a device."""
    chosen = get_backend()
    if chosen == "reference" or (chosen == "auto" and not loaded):
        return "reference"
    return device if chosen in ("auto", device) else "an error"


def main() -> int:
    """Prints the report."""
    print("\n".join(lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
