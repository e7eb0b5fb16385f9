"""Which implementation serves a call: compiled kernels, Triton's, or the PyTorch reference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..triton import registration as triton
from ..warning import warn
from . import extension

BACKENDS = ("auto", "cpu", "cuda", "triton", "reference")
VARIABLE = "VAE_FAST_BACKEND"

_backend = "auto"
# Why the current backend has no kernels for CPU and for CUDA tensors; empty where it has. First of
# the operators that have compiled CUDA kernels, then of the general ones, which have not.
_missing_cpu = ("", "")
_missing_cuda = ("", "")
_warned = False


_NOT_COMPILED = "there are no compiled CUDA kernels of this likelihood or of sparse targets"


def why_missing(name: str) -> str:
    """Why a backend is not available here; empty if it is."""
    if name == "cpu":
        return extension.cpu_missing
    if name == "cuda":
        return extension.cuda_missing
    return triton.missing() if name == "triton" else ""


def _check(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"backend: got {name!r}, expected one of {', '.join(BACKENDS)}")
    if missing := why_missing(name):
        raise RuntimeError(f"backend {name!r} is not available: {missing}")
    return name


def serving(device: str, general: bool = False) -> tuple[str, str]:
    """(what serves "cpu" or "cuda" tensors under the current choice, "").

    If nothing has kernels for them: ("reference" or "an error", why).

    Args:
        device: type of the tensors' device.
        general: of the operators that have no compiled CUDA kernels.
    """
    if _backend == "reference":
        return "reference", ""
    if _backend == "auto":
        if device == "cpu":
            missing = why_missing("cpu")
            return ("cpu", "") if not missing else ("reference", missing)
        missing = _NOT_COMPILED if general else why_missing("cuda")
        if not missing:
            return "cuda", ""
        other = _without_cuda()
        return ("triton", "") if not other else ("reference", f"{missing}; {other}")
    devices = triton.devices() if _backend == "triton" else (_backend,)
    if device not in devices:
        return "an error", f"backend {_backend!r} serves tensors on {' and '.join(devices)}"
    if general and _backend == "cuda":
        return "an error", _NOT_COMPILED
    return _backend, ""


def _without_cuda() -> str:
    """Why Triton does not stand in for missing CUDA kernels; empty if it does."""
    return triton.missing() if torch.version.cuda is not None else "no CUDA for Triton"


def set_backend(name: str) -> None:
    """Chooses the implementation of all later calls, in every thread.

    Args:
        name: "auto" (for every operator and likelihood: compiled kernels where there are some for
            the tensors' device; else, on a GPU, Triton's; else the reference), "cpu" or "cuda"
            (compiled kernels of that device or an error), "triton" (Triton kernels or an error;
            they serve CUDA tensors and, where TRITON_INTERPRET=1 is set, CPU tensors), or
            "reference" (plain PyTorch).

    Raises:
        ValueError: unknown name.
        RuntimeError: the backend is not available here; the message says why.
    """
    global _backend, _missing_cpu, _missing_cuda
    _backend = _check(name)
    kinds = (False, True)
    chosen = {d: [serving(d, general) for general in kinds] for d in ("cpu", "cuda")}
    _missing_cpu, _missing_cuda = ((c[0][1], c[1][1]) for c in chosen.values())
    triton.serve(*([d for d, c in chosen.items() if c[k][0] == "triton"] for k in kinds))


def get_backend() -> str:
    """The name given to `set_backend`, "auto" by default or the value of VAE_FAST_BACKEND."""
    return _backend


@contextmanager
def backend(name: str) -> Iterator[None]:
    """`set_backend` for the body of a with statement."""
    before = get_backend()
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def has_kernels(tensor: Tensor, general: bool = False) -> bool:
    """Whether kernels serve this tensor under the current choice, for `general` see `serving`."""
    if _backend == "reference":
        return False
    kind = 1 if general else 0  # Dynamo of PyTorch 2.11 takes no bool for an index
    if tensor.is_cpu:
        missing = _missing_cpu[kind]
    elif tensor.is_cuda:
        missing = _missing_cuda[kind]
    else:
        missing = f"there are no kernels for {tensor.device.type} tensors"
    if not missing:
        return True
    if _backend != "auto":
        raise RuntimeError(
            f"backend {_backend!r} was chosen, and the tensors are on {tensor.device}: {missing}"
        )
    if not tensor.is_meta:
        _warn_once(missing)
    return False


def compiled_for_cpu() -> bool:
    """Whether C++ kernels serve CPU tensors under the current choice."""
    return _backend in ("auto", "cpu") and not _missing_cpu[0]


def _warn_once(missing: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warn(f"vae_fast uses its slow PyTorch reference: {missing}")


try:
    set_backend(os.environ.get(VARIABLE) or "auto")
except (ValueError, RuntimeError) as error:
    raise type(error)(f"{VARIABLE}={os.environ[VARIABLE]}: {error}") from None
