"""Which dtype the arithmetic runs in, and how targets are read."""

from __future__ import annotations

import torch
from torch import Tensor


def accumulate_dtype(*tensors: Tensor | None) -> torch.dtype:
    """float64 if any tensor is float64, else float32."""
    is_double = any(t is not None and t.dtype == torch.float64 for t in tensors)
    return torch.float64 if is_double else torch.float32


def as_target(target: Tensor, dtype: torch.dtype, *, bytes_to_unit: bool) -> Tensor:
    """The target's numbers; with ``bytes_to_unit`` uint8 is read as x / 255."""
    if target.dtype != torch.uint8 or not bytes_to_unit:
        return target.to(dtype)
    # By a tensor: dividing by a number, PyTorch multiplies by its rounded reciprocal on a GPU.
    return target.to(dtype) / target.new_full((), 255, dtype=dtype)
