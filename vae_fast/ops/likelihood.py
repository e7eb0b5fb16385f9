"""Operators of the loss: negative log-likelihood and the ELBO around it, one autograd node a call.

For a scalar loss the gradient is known, up to the incoming factor, while the loss is being
computed. In training the forward therefore writes it (3 element moves instead of 5). The backward
hands that buffer over once, if the incoming gradient is 1; otherwise, and on any later backward, it
computes the gradient from the inputs. On a GPU, where looking at the incoming gradient would make
the host wait, a kernel looks: it leaves at once, or computes the gradient into the same buffer.
Nothing is ever scaled, and every gradient is rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ..reference import likelihood as reference
from ..reference.dtypes import accumulate_dtype
from ..reference.reduce import NONE, SAMPLE
from . import layout
from .extension import define
from .latent import gaussian_kl
from .routing import differentiable_backward, needs_composite_backward, needs_grad, use_composite

_ARGUMENTS = (
    "Tensor param, Tensor? param_logvar, Tensor target, Tensor? weight, Tensor? kl, Tensor? mu,"
    " Tensor? logvar, Tensor? beta_tensor, float beta, int likelihood, float constant,"
    " int reduction"
)
define(f"elbo({_ARGUMENTS}) -> (Tensor, Tensor, Tensor)")
define(f"elbo_with_grad({_ARGUMENTS}, int wants) -> (Tensor, Tensor, Tensor, Tensor[])")
define(f"elbo_backward(Tensor grad, {_ARGUMENTS}, int wants) -> Tensor[]")
define(f"elbo_regrad(Tensor grad, Tensor(a!)[] gradients, {_ARGUMENTS}, int wants) -> ()")

_elbo = torch.ops.vae_fast.elbo.default
_elbo_with_grad = torch.ops.vae_fast.elbo_with_grad.default
_elbo_backward = torch.ops.vae_fast.elbo_backward.default
_elbo_regrad = torch.ops.vae_fast.elbo_regrad.default

# Tensor arguments in their order, and the bit of each that has a gradient in the kernels.
_TENSORS = 8
_BITS = {0: 1, 1: 2, 4: 4, 5: 8, 6: 16}
_NO_GRADIENT = tuple(None for _ in range(12))
_DOUBLE = torch.float64


def _fake_loss(args: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
    param, param_logvar, target, weight, kl, mu = args[:6]
    reduction = args[11]
    dtype = accumulate_dtype(param, kl, mu)
    if reduction == NONE:
        lead = param.dim() - target.dim() + 1
        shared = param_logvar is not None and param_logvar.dim() == 0
        others = ((None if shared else param_logvar, lead), (target, 1), (weight, 1))
        elements = layout.empty_rows(param, lead, others, dtype)
        return elements, param.new_empty(0, dtype=dtype), param.new_empty(0, dtype=dtype)
    shape = target.shape[:1] if reduction == SAMPLE else ()
    parts = (0,) if kl is None and mu is None else shape
    return (
        param.new_empty(shape, dtype=dtype),
        param.new_empty(parts, dtype=dtype),
        param.new_empty(parts, dtype=dtype),
    )


def _fake_gradients(args: Sequence[Any], wants: int, grad: Tensor | None) -> list[Tensor]:
    param, param_logvar, target, weight, kl, mu, logvar = args[:7]
    lead = param.dim() - target.dim() + 1
    shared = param_logvar is not None and param_logvar.dim() == 0
    others = (
        (None if shared else param_logvar, lead),
        (target, 1),
        (weight, 1),
        (grad if args[11] == NONE else None, lead),
    )
    grads = []
    if wants & 1:
        grads.append(layout.empty_rows(param, lead, others, param.dtype))
    if wants & 2:
        grads.append(
            param_logvar.new_empty(())
            if shared
            else layout.empty_rows(param, lead, others, param_logvar.dtype)
        )
    if wants & 4:
        grads.append(kl.new_empty(kl.shape))
    if wants & 8:
        grads.append(layout.empty_rows(mu, 1, ((logvar, 1),), mu.dtype))
    if wants & 16:
        grads.append(layout.empty_rows(mu, 1, ((logvar, 1),), logvar.dtype))
    return grads


@torch.library.register_fake("vae_fast::elbo")
def _(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _fake_loss(args)


@torch.library.register_fake("vae_fast::elbo_with_grad")
def _(*args: Any) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    return (*_fake_loss(args), _fake_gradients(args, args[12], None))


@torch.library.register_fake("vae_fast::elbo_backward")
def _(grad: Tensor, *args: Any) -> list[Tensor]:
    return _fake_gradients(args, args[12], grad)


@torch.library.register_fake("vae_fast::elbo_regrad")
def _(grad: Tensor, gradients: list[Tensor], *args: Any) -> None:
    return None


def _wants(needed: Sequence[bool]) -> int:
    return sum(bit for index, bit in _BITS.items() if needed[index])


def _place(grads: Sequence[Tensor], needed: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Puts the gradients that were wanted in the places of their inputs."""
    placed: list[Tensor | None] = list(_NO_GRADIENT)
    found = iter(grads)
    for index in _BITS:
        if needed[index]:
            placed[index] = next(found)
    return tuple(placed)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:_TENSORS])
    ctx.options = inputs[_TENSORS:]
    ctx.mark_non_differentiable(*output[1:3])
    ctx.set_materialize_grads(False)


def _recompute(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return _NO_GRADIENT
    needed = ctx.needs_input_grad
    return _place(_elbo_backward(grad, *ctx.saved_tensors, *ctx.options, _wants(needed)), needed)


torch.library.register_autograd("vae_fast::elbo", _recompute, setup_context=_setup)


class _ELBO(torch.autograd.Function):
    """Route four of `elbo`."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
        # A per-sample or per-element incoming gradient is almost never 1: no buffer then. Nor is
        # that of float16 parameters, which are trained under a gradient scaler; on a GPU the wasted
        # buffer would cost more than looking at its factor later.
        likely_one = args[11] > SAMPLE and not (args[0].is_cuda and args[0].dtype == torch.float16)
        wants = _wants(ctx.needs_input_grad) if likely_one else 0
        loss, recon, kl, grads = _elbo_with_grad(*args, wants)
        ctx.gradients = grads if wants else None
        _setup(ctx, args, (loss, recon, kl))
        return loss, recon, kl

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> Any:
        if grad is None:
            return _NO_GRADIENT
        if needs_composite_backward(grad):
            grads = differentiable_backward(
                reference.elbo,
                ctx.saved_tensors,
                ctx.options,
                ctx.needs_input_grad[:_TENSORS],
                (grad, None, None),
            )
            return (*grads, None, None, None, None)
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None or type(grad) is not Tensor:
            return _recompute(ctx, grad)
        if grad.is_cuda:
            wants = _wants(ctx.needs_input_grad)
            _elbo_regrad(grad, gradients, *ctx.saved_tensors, *ctx.options, wants)
        elif grad.item() != 1.0:
            return _recompute(ctx, grad)
        return _place(gradients, ctx.needs_input_grad)


def elbo(
    param: Tensor,
    param_logvar: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
    kl: Tensor | None,
    mu: Tensor | None,
    logvar: Tensor | None,
    beta_tensor: Tensor | None,
    beta: float,
    likelihood: int,
    constant: float,
    reduction: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, recon, kl): the ELBO; without a KL the negative log-likelihood and two empties.

    Arguments are checked by the caller.
    """
    if mu is not None and param.is_cuda and (mu.dtype == _DOUBLE) != (param.dtype == _DOUBLE):
        # One kernel has one arithmetic: a latent in double gets its own.
        kl = gaussian_kl(mu, cast(Tensor, logvar), None, None, SAMPLE)
        mu = logvar = None
    args = (
        param,
        param_logvar,
        target,
        weight,
        kl,
        mu,
        logvar,
        beta_tensor,
        beta,
        likelihood,
        constant,
        reduction,
    )
    # The kernels have no gradient of targets, weights and beta; PyTorch's autograd has.
    if use_composite(param) or needs_grad(target, weight, beta_tensor):
        return reference.elbo(*args)
    if torch.compiler.is_compiling():
        result: tuple[Tensor, Tensor, Tensor] = _elbo(*args)
    elif needs_grad(param, param_logvar, kl, mu, logvar):
        result = _ELBO.apply(*args)
    else:
        result = _elbo_with_grad(*args, 0)[:3]
    return result
