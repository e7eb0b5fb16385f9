"""Argument checks of the public functions: clear Python errors before any kernel runs."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, cast

import numpy
import torch
from torch import Tensor

from .reference.reduce import BATCHMEAN, DRAW, MEAN, NONE, SAMPLE, SUM

REDUCTIONS = {
    "none": NONE,
    "sample": SAMPLE,
    "draw": DRAW,
    "batchmean": BATCHMEAN,
    "sum": SUM,
    "mean": MEAN,
}
PARAMETER_DTYPES = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))
_PLAIN = frozenset((Tensor, torch.nn.Parameter))
_TARGET_DTYPES = PARAMETER_DTYPES | {torch.uint8, torch.bool}
_COUNT_DTYPES = _TARGET_DTYPES | {torch.int16, torch.int32, torch.int64}


def shape_of(t: Tensor) -> str:
    """A shape as it is written in messages: [2, 3]."""
    return str(list(t.shape))


def require_tensor(name: str, value: object) -> None:
    """An ordinary tensor in memory."""
    if isinstance(value, torch.fx.Proxy):
        raise TypeError(
            f"{name}: got a Proxy of torch.fx, which cannot look inside: call the function as"
            " vae_fast.NAME, or give its name to torch.fx.wrap where it is imported"
        )
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise TypeError(f"{name}: got a tensor of layout {value.layout}, expected a dense one")
    if type(value).__name__ == "DTensor":
        raise TypeError(
            f"{name}: got a DTensor, expected a torch.Tensor: its own shard (to_local) or all of"
            " it (full_tensor)"
        )


def require_parameter(name: str, value: object) -> None:
    """A floating-point tensor with a batch dimension."""
    if type(value) not in _PLAIN:
        require_tensor(name, value)
    assert isinstance(value, Tensor)
    if value.dtype not in PARAMETER_DTYPES:
        raise TypeError(
            f"{name}: got dtype {value.dtype}, expected float32, float64, bfloat16 or float16"
        )
    if value.dim() == 0:
        raise ValueError(f"{name}: got a 0-dimensional tensor, expected a batch dimension first")
    if value.layout is not torch.strided:
        require_tensor(name, value)


def require_target(kind: str, sparse: bool, value: object) -> None:
    """A target of a likelihood's kind: "unit", "real" or "count", maybe sparse."""
    if type(value) not in _PLAIN:
        require_tensor("target", value)
    assert isinstance(value, Tensor)
    if value.layout is not torch.strided and not (sparse and value.layout is torch.sparse_csr):
        require_tensor("target", value)
    if kind == "count":
        if value.dtype not in _COUNT_DTYPES:
            raise TypeError(
                f"target: got dtype {value.dtype}, expected counts: uint8, int16, int32, int64,"
                " bool or a floating-point dtype"
            )
    elif value.dtype not in _TARGET_DTYPES:
        raise TypeError(
            f"target: got dtype {value.dtype}, expected uint8 (read as x / 255), bool or a"
            " floating-point dtype: other integers have no known range to be scaled to [0, 1]"
        )


def count_or_none(name: str, value: Any) -> int | None:
    """A positive whole number of any kind, None for None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (Integral, torch.SymInt)):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}: got {value}, expected at least 1")
    return cast(int, value) if isinstance(value, torch.SymInt) else int(value)


def factor(name: str, value: Any, like_name: str, like: Tensor) -> tuple[float, Tensor | None]:
    """A factor as (a number, a 0-dimensional tensor or None), whose product it is.

    A number is any real one, NumPy's included. While compiling it becomes a tensor, which may
    change without a new compilation.
    """
    if type(value) is float and not torch.compiler.is_compiling():  # nearly always
        return value, None
    if isinstance(value, numpy.ndarray) and value.ndim == 0:  # as Dynamo sees NumPy's scalars
        value = torch.as_tensor(value).to(like.device)
    if isinstance(value, Tensor):
        require_tensor(name, value)
        if value.dim() != 0 or not value.is_floating_point():
            raise ValueError(
                f"{name}: got a tensor of {value.dtype} and shape {shape_of(value)}, expected a"
                " number or a 0-dimensional floating-point tensor"
            )
        if value.device != like.device:
            require_same_device(name, value, like_name, like)
        return 1.0, value
    if isinstance(value, bool) or not isinstance(value, (Real, torch.SymFloat)):
        raise TypeError(f"{name}: expected a number or a tensor, got {type(value).__name__}")
    if torch.compiler.is_compiling():
        return 1.0, torch.ones((), dtype=torch.float64, device=like.device) * cast(float, value)
    return float(cast(float, value)), None


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
    if (  # one pass over what is nearly always right
        type(mu) in _PLAIN
        and type(logvar) in _PLAIN
        and mu.shape == logvar.shape
        and mu.dtype == logvar.dtype
        and mu.dtype in PARAMETER_DTYPES
        and mu.device == logvar.device
        and mu.dim() > 0
        and mu.layout is logvar.layout is torch.strided
    ):
        return
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
    if per_sample_only and code in (NONE, MEAN, DRAW):
        raise ValueError(
            f"reduction: got {reduction!r}, expected 'sample', 'batchmean' or 'sum': the"
            " reconstruction and the KL have different numbers of elements, so an element or an"
            " average over elements of their sum means nothing"
        )
    return code
