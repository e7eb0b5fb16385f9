"""Loading of the compiled CPU kernels.

The shared object uses PyTorch's stable ABI only, so one build serves every supported PyTorch. It
only implements operators; their schemas are defined here, where operator tags exist in every
version.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os

import torch

library = torch.library.Library("vae_fast", "DEF")

ISA_VARIABLE = "VAE_FAST_ISA"


def define(schema: str) -> None:
    """Defines an operator whose kernels take any strides and are pure functions."""
    library.define(schema, tags=(torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout))


def _load() -> tuple[str, str]:
    """Loads the extension; returns (instruction set, "") or ("", why there is none)."""
    spec = importlib.util.find_spec("vae_fast._C")
    if spec is None or spec.origin is None:
        return (
            "",
            "the compiled extension vae_fast._C is not installed (no compiler at install time?)",
        )
    try:
        torch.ops.load_library(spec.origin)
    except (OSError, RuntimeError) as error:
        return "", f"the compiled extension does not load: {str(error).splitlines()[0]}"
    handle = ctypes.CDLL(spec.origin)
    for function in (handle.vae_fast_isa, handle.vae_fast_isa_error):
        function.restype = ctypes.c_char_p
    error_text = handle.vae_fast_isa_error().decode()
    if error_text:
        raise ValueError(error_text)
    return handle.vae_fast_isa().decode(), ""


cpu_isa, cpu_missing = _load()


def cpu_loaded() -> bool:
    """Whether the compiled CPU kernels are there."""
    return not cpu_missing


def requested_isa() -> str:
    """The value of VAE_FAST_ISA, empty if unset."""
    return os.environ.get(ISA_VARIABLE, "")
