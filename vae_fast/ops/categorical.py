"""Operators of the categorical latent: Gumbel-softmax samples with their KL."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..reference import categorical as reference
from ..reference.dtypes import accumulate_dtype
from .backend import serving
from .extension import define, register_autograd, register_fake
from .routing import differentiable_backward, needs_composite_backward, needs_grad, use_composite

_SCHEMA = (
    "(Tensor logits, Tensor seed, Tensor? tau_tensor, float tau, bool hard) -> (Tensor, Tensor)"
)
define("gumbel_softmax_kl" + _SCHEMA)
define("gumbel_softmax_kl_raw" + _SCHEMA)
define(
    "gumbel_softmax_kl_backward(Tensor? grad_y, Tensor? grad_kl, Tensor logits, Tensor seed,"
    " Tensor? tau_tensor, float tau) -> Tensor"
)

MOST_OF_TRITON = 8192  # categories

_ops = torch.ops.vae_fast
_op = _ops.gumbel_softmax_kl.default
_raw = _ops.gumbel_softmax_kl_raw.default
_backward = _ops.gumbel_softmax_kl_backward.default


@register_fake("gumbel_softmax_kl")
@register_fake("gumbel_softmax_kl_raw")
def _(
    logits: Tensor, seed: Tensor, tau_tensor: Tensor | None, tau: float, hard: bool
) -> tuple[Tensor, Tensor]:
    kl = logits.new_empty(logits.shape[:1], dtype=accumulate_dtype(logits))
    return logits.new_empty(logits.shape), kl


@register_fake("gumbel_softmax_kl_backward")
def _(
    grad_y: Tensor | None,
    grad_kl: Tensor | None,
    logits: Tensor,
    seed: Tensor,
    tau_tensor: Tensor | None,
    tau: float,
) -> Tensor:
    return logits.new_empty(logits.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.tau, ctx.hard = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _gradients(
    ctx: Any, grad_y: Tensor | None, grad_kl: Tensor | None
) -> tuple[Tensor | None, ...]:
    if grad_y is None and grad_kl is None:
        return (None,) * 5
    return _backward(grad_y, grad_kl, *ctx.saved_tensors, ctx.tau), None, None, None, None


register_autograd("gumbel_softmax_kl", _gradients, _setup)


class _Sample(torch.autograd.Function):
    """Route four of `gumbel_softmax_kl`. The noise is drawn again in the backward."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        _setup(ctx, args, ())  # type: ignore[arg-type]
        result: tuple[Tensor, Tensor] = _raw(*args)
        return result

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None, grad_kl: Tensor | None) -> Any:
        if not needs_composite_backward(grad_y, grad_kl) or (grad_y is None and grad_kl is None):
            return _gradients(ctx, grad_y, grad_kl)
        grads = differentiable_backward(
            reference.gumbel_softmax_kl,
            ctx.saved_tensors,
            (ctx.tau, ctx.hard),
            ctx.needs_input_grad[:3],
            (grad_y, grad_kl),
        )
        return (*grads, None, None)


def _too_many(logits: Tensor) -> bool:
    """A program of Triton's holds all categories of a variable."""
    return logits.shape[-1] > MOST_OF_TRITON and serving(logits.device.type)[0] == "triton"


def gumbel_softmax_kl(
    logits: Tensor, seed: Tensor, tau_tensor: Tensor | None, tau: float, hard: bool
) -> tuple[Tensor, Tensor]:
    """y and KL(q || uniform) per sample. Arguments are checked by the caller."""
    args = (logits, seed, tau_tensor, tau, hard)
    if use_composite(logits) or _too_many(logits):
        return reference.gumbel_softmax_kl(*args)
    if torch.compiler.is_compiling():
        result: tuple[Tensor, Tensor] = _op(*args)
    elif needs_grad(logits):
        result = _Sample.apply(*args)
    else:
        result = _raw(*args)
    return result
