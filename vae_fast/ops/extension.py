"""Loading of the compiled kernels: one shared object for the CPU, one for CUDA.

They use PyTorch's stable ABI only, so one build serves every supported PyTorch. They only implement
operators; their schemas are defined here, where operator tags exist in every version.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os

import torch

library = torch.library.Library("vae_fast", "DEF")

ISA_VARIABLE = "VAE_FAST_ISA"


def define(schema: str) -> None:
    """Defines an operator whose kernels take any strides."""
    library.define(schema, tags=(torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout))


def _load(module: str, what: str) -> tuple[str, str]:
    """Loads a shared object; returns (its path, "") or ("", why there is none)."""
    spec = importlib.util.find_spec(f"vae_fast.{module}")
    if spec is None or spec.origin is None:
        return "", f"the compiled extension vae_fast.{module} is not installed ({what})"
    try:
        torch.ops.load_library(spec.origin)
    except (OSError, RuntimeError) as error:
        return "", f"the compiled extension does not load: {str(error).splitlines()[0]}"
    return spec.origin, ""


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
