"""Which implementation serves a call: compiled kernels or the plain PyTorch reference."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from . import extension

BACKENDS = ("auto", "cpu", "cuda", "reference")
VARIABLE = "VAE_FAST_BACKEND"

_backend = "auto"
_warned = False


def _check(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"backend: got {name!r}, expected one of {', '.join(BACKENDS)}")
    if name == "cpu" and not extension.cpu_loaded():
        raise RuntimeError(f"backend 'cpu' is not available: {extension.cpu_missing}")
    if name == "cuda" and not extension.cuda_loaded():
        raise RuntimeError(f"backend 'cuda' is not available: {extension.cuda_missing}")
    return name


def set_backend(name: str) -> None:
    """Chooses the implementation of all later calls, in every thread.

    Args:
        name: "auto" (compiled kernels where there are some for the tensors' device, else the
            reference), "cpu" or "cuda" (compiled kernels of that device or an error), or
            "reference" (plain PyTorch).

    Raises:
        ValueError: unknown name.
        RuntimeError: the backend is not available here; the message says why.
    """
    global _backend
    _backend = _check(name)


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


def has_kernels(tensor: Tensor) -> bool:
    """Whether compiled kernels serve this tensor under the current choice."""
    if _backend == "reference":
        return False
    if tensor.is_cpu:
        missing = extension.cpu_missing
    elif tensor.is_cuda:
        missing = extension.cuda_missing
    else:
        missing = f"there are no kernels for {tensor.device.type} tensors"
    if not missing and _backend in ("auto", tensor.device.type):
        return True
    if _backend != "auto":
        raise RuntimeError(
            f"backend {_backend!r} was chosen, and the tensors are on {tensor.device}"
        )
    if not tensor.is_meta:
        _warn_once(missing)
    return False


def _warn_once(missing: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(f"vae_fast uses its slow PyTorch reference: {missing}", stacklevel=6)


if os.environ.get(VARIABLE):
    try:
        set_backend(os.environ[VARIABLE])
    except ValueError as error:
        raise ValueError(f"{VARIABLE}={os.environ[VARIABLE]}: {error}") from None
