"""What was built, what is active on which device, and why each other backend is not."""

from __future__ import annotations

import platform
import sys

import numpy
import torch

from .ops import extension
from .ops.backend import get_backend, serving, why_missing
from .triton import registration as triton
from .version import __version__


def lines() -> list[str]:
    """The report of `vae-fast info`, line by line."""
    built = {
        "cpu": f"compiled kernels, {extension.cpu_isa}",
        "cuda": "compiled kernels",
        "triton": f"kernels for {' and '.join(triton.devices())} tensors",
        "reference": "plain PyTorch, on every device",
    }
    report = [
        f"vae_fast   {__version__}",
        f"python     {platform.python_version()}",
        f"torch      {torch.__version__}",
        f"numpy      {numpy.__version__}",
        f"triton     {triton.version() or 'not installed'}",
        f"threads    {torch.get_num_threads()}",
        "",
        "backends",
    ]
    for name, what in built.items():
        missing = why_missing(name)
        report.append(f"  {name:<10} {f'not available: {missing}' if missing else what}")
    report += ["", f"active (backend {get_backend()!r})"]
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        name, reason = serving(device)
        report.append(f"  {device + ' tensors':<14} {name}{f': {reason}' if reason else ''}")
    return report


def main() -> int:
    """Prints the report."""
    print("\n".join(lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
