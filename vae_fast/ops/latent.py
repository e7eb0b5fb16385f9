"""Operators of the latent layer: sampling with KL, and the KL of diagonal Gaussians."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..reference import latent as reference
from ..reference.dtypes import accumulate_dtype
from ..reference.reduce import NONE, SAMPLE
from . import layout
from .extension import define, register_autograd, register_fake
from .routing import differentiable_backward, needs_composite_backward, needs_grad, use_composite

_SAMPLE_SCHEMA = (
    "(Tensor mu, Tensor logvar, Tensor? seed, Tensor? eps, SymInt? num_samples, bool with_kl)"
    " -> (Tensor, Tensor)"
)
_KL_SCHEMA = (
    "(Tensor mu, Tensor logvar, Tensor? prior_mu, Tensor? prior_logvar, int reduction) -> Tensor"
)
define("reparameterize_kl" + _SAMPLE_SCHEMA)
define("reparameterize_kl_raw" + _SAMPLE_SCHEMA)
define(
    "reparameterize_kl_backward(Tensor? grad_z, Tensor? grad_kl, Tensor mu, Tensor logvar,"
    " Tensor? seed, Tensor? eps) -> (Tensor, Tensor)"
)
define("gaussian_kl" + _KL_SCHEMA)
define("gaussian_kl_raw" + _KL_SCHEMA)
define(
    "gaussian_kl_backward(Tensor grad, Tensor mu, Tensor logvar, Tensor? prior_mu,"
    " Tensor? prior_logvar, int reduction, int wants) -> Tensor[]"
)

_ops = torch.ops.vae_fast
_sample_op = _ops.reparameterize_kl.default
_sample_raw = _ops.reparameterize_kl_raw.default
_sample_backward = _ops.reparameterize_kl_backward.default
_kl_op = _ops.gaussian_kl.default
_kl_raw = _ops.gaussian_kl_raw.default
_kl_backward = _ops.gaussian_kl_backward.default


@register_fake("reparameterize_kl")
@register_fake("reparameterize_kl_raw")
def _(
    mu: Tensor,
    logvar: Tensor,
    seed: Tensor | None,
    eps: Tensor | None,
    num_samples: int | None,
    with_kl: bool,
) -> tuple[Tensor, Tensor]:
    shape = mu.shape if num_samples is None else (num_samples, *mu.shape)
    kl = mu.new_empty((mu.shape[0] if with_kl else 0,), dtype=accumulate_dtype(mu))
    return mu.new_empty(shape), kl


@register_fake("reparameterize_kl_backward")
def _(
    grad_z: Tensor | None,
    grad_kl: Tensor | None,
    mu: Tensor,
    logvar: Tensor,
    seed: Tensor | None,
    eps: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return mu.new_empty(mu.shape), logvar.new_empty(logvar.shape)


@register_fake("gaussian_kl")
@register_fake("gaussian_kl_raw")
def _(
    mu: Tensor,
    logvar: Tensor,
    prior_mu: Tensor | None,
    prior_logvar: Tensor | None,
    reduction: int,
) -> Tensor:
    dtype = accumulate_dtype(mu)
    if reduction == NONE:
        others = ((logvar, 1), (prior_mu, 1), (prior_logvar, 1))
        return layout.Order(mu, 1, others).empty(mu, dtype)
    return mu.new_empty(mu.shape[:1] if reduction == SAMPLE else (), dtype=dtype)


@register_fake("gaussian_kl_backward")
def _(
    grad: Tensor,
    mu: Tensor,
    logvar: Tensor,
    prior_mu: Tensor | None,
    prior_logvar: Tensor | None,
    reduction: int,
    wants: int,
) -> list[Tensor]:
    others = (
        (logvar, 1),
        (prior_mu, 1),
        (prior_logvar, 1),
        (grad if reduction == NONE else None, 1),
    )
    inputs = (mu, logvar, prior_mu, prior_logvar)
    return [
        layout.Order(mu, 1, others).empty(mu, t.dtype)
        for bit, t in enumerate(inputs)
        if wants >> bit & 1 and t is not None
    ]


def _setup_sample(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    mu, logvar, seed, eps, _, _ = inputs
    ctx.save_for_backward(mu, logvar, seed, eps)
    ctx.set_materialize_grads(False)


def _backward_sample(
    ctx: Any, grad_z: Tensor | None, grad_kl: Tensor | None
) -> tuple[Tensor | None, ...]:
    if grad_z is None and grad_kl is None:
        return (None,) * 6
    grad_mu, grad_logvar = _sample_backward(grad_z, grad_kl, *ctx.saved_tensors)
    return grad_mu, grad_logvar, None, None, None, None


register_autograd("reparameterize_kl", _backward_sample, _setup_sample)


class _Sample(torch.autograd.Function):
    """Route four of `reparameterize_kl`. The noise is drawn again in the backward."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        mu, logvar, seed, eps, num_samples, with_kl = args
        z, kl = _sample_raw(*args)
        ctx.save_for_backward(mu, logvar, seed, eps)
        ctx.options = (num_samples, with_kl)
        ctx.set_materialize_grads(False)
        if not with_kl:
            ctx.mark_non_differentiable(kl)
        return z, kl

    @staticmethod
    def backward(ctx: Any, grad_z: Tensor | None, grad_kl: Tensor | None) -> Any:
        if grad_z is None and grad_kl is None:
            return (None,) * 6
        if needs_composite_backward(grad_z, grad_kl):
            grads = differentiable_backward(
                reference.reparameterize_kl,
                ctx.saved_tensors,
                ctx.options,
                ctx.needs_input_grad[:4],
                (grad_z, grad_kl),
            )
            return (*grads, None, None)
        grad_mu, grad_logvar = _sample_backward(grad_z, grad_kl, *ctx.saved_tensors)
        return grad_mu, grad_logvar, None, None, None, None


def reparameterize_kl(
    mu: Tensor,
    logvar: Tensor,
    seed: Tensor | None,
    eps: Tensor | None,
    num_samples: int | None,
    with_kl: bool,
) -> tuple[Tensor, Tensor]:
    """z and, on demand, KL(q || N(0, I)) per sample. Arguments are checked by the caller."""
    args = (mu, logvar, seed, eps, num_samples, with_kl)
    if use_composite(mu) or (eps is not None and eps.requires_grad):
        return reference.reparameterize_kl(*args)
    if torch.compiler.is_compiling():
        result: tuple[Tensor, Tensor] = _sample_op(*args)
    elif needs_grad(mu, logvar):
        result = _Sample.apply(*args)
    else:
        result = _sample_raw(*args)
    return result


def _setup_kl(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.reduction = inputs
    ctx.save_for_backward(*tensors)


def _backward_kl(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*_kl_gradients(ctx, grad), None)


def _kl_gradients(ctx: Any, grad: Tensor) -> list[Tensor | None]:
    needed = ctx.needs_input_grad[:4]
    wants = sum(1 << bit for bit, need in enumerate(needed) if need)
    found = iter(_kl_backward(grad, *ctx.saved_tensors, ctx.reduction, wants))
    return [next(found) if need else None for need in needed]


register_autograd("gaussian_kl", _backward_kl, _setup_kl)


def _kl_composite(*args: Any) -> tuple[Tensor, ...]:
    return (reference.gaussian_kl(*args),)


class _KL(torch.autograd.Function):
    """Route four of `gaussian_kl`."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        *tensors, ctx.reduction = args
        ctx.save_for_backward(*tensors)
        result: Tensor = _kl_raw(*args)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if needs_composite_backward(grad):
            grads = differentiable_backward(
                _kl_composite,
                ctx.saved_tensors,
                (ctx.reduction,),
                ctx.needs_input_grad[:4],
                (grad,),
            )
            return (*grads, None)
        return _backward_kl(ctx, grad)


def gaussian_kl(
    mu: Tensor,
    logvar: Tensor,
    prior_mu: Tensor | None,
    prior_logvar: Tensor | None,
    reduction: int,
) -> Tensor:
    """KL divergence of diagonal Gaussians of one shape. Arguments are checked by the caller."""
    args = (mu, logvar, prior_mu, prior_logvar, reduction)
    if use_composite(mu):
        return reference.gaussian_kl(*args)
    if torch.compiler.is_compiling():
        result: Tensor = _kl_op(*args)
    elif needs_grad(mu, logvar, prior_mu, prior_logvar):
        result = _KL.apply(*args)
    else:
        result = _kl_raw(*args)
    return result
