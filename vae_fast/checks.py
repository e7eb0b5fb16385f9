"""Argument checks of the public functions: clear Python errors before any kernel runs."""

from __future__ import annotations

import torch
from torch import Tensor

from .reference.reduce import BATCHMEAN, MEAN, NONE, SAMPLE, SUM

REDUCTIONS = {"none": NONE, "sample": SAMPLE, "batchmean": BATCHMEAN, "sum": SUM, "mean": MEAN}
PARAMETER_DTYPES = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))
TARGET_DTYPES = PARAMETER_DTYPES | {torch.uint8, torch.bool}


def shape_of(t: Tensor) -> str:
    """A shape as it is written in messages: [2, 3]."""
    return str(list(t.shape))


def require_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(value).__name__}")


def require_parameter(name: str, value: object) -> None:
    """A floating-point tensor with a batch dimension."""
    if not isinstance(value, Tensor):
        require_tensor(name, value)
    elif value.dtype not in PARAMETER_DTYPES:
        raise TypeError(
            f"{name}: got dtype {value.dtype}, expected float32, float64, bfloat16 or float16"
        )
    elif value.dim() == 0:
        raise ValueError(f"{name}: got a 0-dimensional tensor, expected a batch dimension first")


def require_target(value: object) -> None:
    if not isinstance(value, Tensor):
        require_tensor("target", value)
    elif value.dtype not in TARGET_DTYPES:
        raise TypeError(
            f"target: got dtype {value.dtype}, expected uint8 (read as x / 255), bool or a"
            " floating-point dtype"
        )


def require_same_shape(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    if value.shape != other.shape:
        raise ValueError(
            f"{name}: got shape {shape_of(value)}, expected the shape of {other_name},"
            f" {shape_of(other)}"
        )


def require_same_device(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    if value.device != other.device:
        raise ValueError(
            f"{name}: got a tensor on {value.device}, expected {other.device} as {other_name}"
        )


def require_latent(mu: Tensor, logvar: Tensor) -> None:
    """mu and logvar of one shape and device."""
    try:  # one pass over what is nearly always right
        if (
            mu.shape == logvar.shape
            and mu.dtype == logvar.dtype
            and mu.dtype in PARAMETER_DTYPES
            and mu.device == logvar.device
            and mu.dim() > 0
        ):
            return
    except AttributeError:
        pass
    require_parameter("mu", mu)
    require_parameter("logvar", logvar)
    require_same_shape("logvar", logvar, "mu", mu)
    require_same_device("logvar", logvar, "mu", mu)


def expand(name: str, value: Tensor, other_name: str, other: Tensor) -> Tensor:
    """A view of `value` with the shape of `other`."""
    if value.shape == other.shape:
        return value
    try:
        return value.expand(other.shape)
    except RuntimeError:
        raise ValueError(
            f"{name}: got shape {shape_of(value)}, expected one that broadcasts to {other_name},"
            f" {shape_of(other)}"
        ) from None


def reduction_code(reduction: str, *, per_sample_only: bool = False) -> int:
    """The operators' code of a reduction."""
    code = REDUCTIONS.get(reduction) if isinstance(reduction, str) else None
    if code is None:
        raise ValueError(
            f"reduction: got {reduction!r}, expected one of {', '.join(map(repr, REDUCTIONS))}"
        )
    if per_sample_only and code in (NONE, MEAN):
        raise ValueError(
            f"reduction: got {reduction!r}, expected 'sample', 'batchmean' or 'sum': the"
            " reconstruction and the KL have different numbers of elements, so an element or an"
            " average over elements of their sum means nothing"
        )
    return code
