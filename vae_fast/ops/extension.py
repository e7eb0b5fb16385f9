"""Loading of the compiled kernels: one shared object for the CPU, one for CUDA.

They use PyTorch's stable ABI only, so one build serves every supported PyTorch. They only implement
operators; their schemas are defined here, where operator tags exist in every version.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])

ISA_VARIABLE = "VAE_FAST_ISA"
FOLDER = Path(__file__).parents[1]


def _library() -> tuple[torch.library.Library, bool]:
    """The operators' library, and whether this is the first import in this process.

    PyTorch's dispatcher outlives a module that is removed from `sys.modules`: an import after that
    finds the operators as they are.
    """
    namespace = torch.ops.vae_fast
    found = vars(namespace).get("kept_library")
    if found is not None:
        return found, False
    made = torch.library.Library("vae_fast", "DEF")
    setattr(namespace, "kept_library", made)  # noqa: B010  (mypy knows operators alone there)
    return made, True


library, _first = _library()


def define(schema: str) -> None:
    """Defines an operator whose kernels take any strides."""
    if _first:
        library.define(schema, tags=(torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout))


def register_fake(name: str) -> Callable[[_Function], _Function]:
    """`torch.library.register_fake` for an operator of ours."""

    def register(function: _Function) -> _Function:
        if _first:
            torch.library.register_fake(f"vae_fast::{name}", function)
        return function

    return register


def register_autograd(name: str, backward: Callable[..., Any], setup: Callable[..., None]) -> None:
    """`torch.library.register_autograd` for an operator of ours."""
    if _first:
        torch.library.register_autograd(f"vae_fast::{name}", backward, setup_context=setup)


def _load(module: str, what: str) -> tuple[str, str]:
    """Loads a shared object; returns (its path, "") or ("", why there is none)."""
    path = FOLDER / f"{module}.abi3.so"
    if not FOLDER.is_dir():
        return "", f"{FOLDER} is no folder: no library can be loaded from inside an archive"
    if not path.exists():
        return "", f"the compiled extension vae_fast.{module} is not installed ({what})"
    try:
        torch.ops.load_library(path)
    except (OSError, RuntimeError) as error:
        return "", f"the compiled extension does not load: {str(error).splitlines()[0]}"
    return str(path), ""


def _isa_of(path: str) -> str:
    """The instruction set that the CPU kernels chose."""
    handle = ctypes.CDLL(path)
    for function in (handle.vae_fast_isa, handle.vae_fast_isa_error):
        function.restype = ctypes.c_char_p
    error = handle.vae_fast_isa_error().decode()
    if error:
        raise ValueError(error)
    name: str = handle.vae_fast_isa().decode()
    return name


def _load_cuda() -> str:
    """Loads the CUDA kernels where PyTorch has CUDA; no device is touched. Returns why not."""
    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA"
    return _load("_CUDA", "no nvcc at install time?")[1]


_cpu_path, cpu_missing = _load("_C", "no compiler at install time?")
cpu_isa = _isa_of(_cpu_path) if _cpu_path else ""
cuda_missing = _load_cuda()


def cpu_loaded() -> bool:
    """Whether the compiled CPU kernels are there."""
    return not cpu_missing


def cuda_loaded() -> bool:
    """Whether the compiled CUDA kernels are there."""
    return not cuda_missing


def requested_isa() -> str:
    """The value of VAE_FAST_ISA, empty if unset."""
    return os.environ.get(ISA_VARIABLE, "")
