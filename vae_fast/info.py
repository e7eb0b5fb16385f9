"""What was built, what is active on which device, and why each other backend is not."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator

import numpy
import torch

from .likelihoods import LIKELIHOODS
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
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    report += ["", f"active (backend {get_backend()!r})"]
    report.append(_cells("operator", *(f"{device} tensors" for device in devices)))
    for operator, general in _operators():
        report.append(_cells(operator, *(serving(device, general)[0] for device in devices)))
    reasons = {(d, serving(d, general)[1]) for d in devices for general in (False, True)}
    report += [f"  {device}: {reason}" for device, reason in sorted(reasons) if reason]
    return report


def _cells(first: str, *others: str) -> str:
    return f"  {first:<34}{''.join(f'{cell:<14}' for cell in others)}".rstrip()


def _operators() -> Iterator[tuple[str, bool]]:
    """What a backend is chosen for, and whether CUDA C++ has no kernels of it."""
    for name in ("sampling", "kl", "categorical"):
        yield name, False
    for row in LIKELIHOODS.values():
        yield row.name, not row.compiled_for_cuda
    yield "sparse targets", True


def main() -> int:
    """Prints the report."""
    print("\n".join(lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
