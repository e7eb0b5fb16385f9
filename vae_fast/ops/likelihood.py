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
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ..likelihoods import BY_CODE
from ..reference import likelihood as reference
from ..reference.dtypes import accumulate_dtype
from ..reference.reduce import DRAW, NONE, SAMPLE
from . import layout
from .backend import compiled_for_cpu
from .extension import define, register_autograd, register_fake
from .latent import gaussian_kl
from .routing import (
    differentiable_backward,
    is_recorded,
    needs_composite_backward,
    needs_grad,
    use_composite,
)

# The arguments of every operator here; csrc/loss.h has them as a struct.
_ARGUMENTS = (
    "Tensor[] params, Tensor target, Tensor? starts, Tensor? columns, Tensor? weight, Tensor? kl,"
    " Tensor? mu, Tensor? logvar, Tensor? beta_tensor, float beta, int likelihood,"
    " float[] constants, int reduction"
)


class _Operators(NamedTuple):
    """The four operators of a family."""

    general: bool
    elbo: Any
    with_grad: Any
    backward: Any
    regrad: Any


def _define(name: str, general: bool) -> _Operators:
    define(f"{name}({_ARGUMENTS}) -> (Tensor, Tensor, Tensor)")
    define(f"{name}_with_grad({_ARGUMENTS}, int wants) -> (Tensor, Tensor, Tensor, Tensor[])")
    define(f"{name}_backward(Tensor grad, {_ARGUMENTS}, int wants) -> Tensor[]")
    define(f"{name}_regrad(Tensor grad, Tensor(a!)[] gradients, {_ARGUMENTS}, int wants) -> ()")
    names = (name, f"{name}_with_grad", f"{name}_backward", f"{name}_regrad")
    return _Operators(general, *(getattr(torch.ops.vae_fast, n).default for n in names))


# What the compiled CUDA kernels serve, and, under names of their own so that on a GPU Triton can,
# what they do not: further likelihoods, and sparse targets.
_COMPILED = _define("elbo", False)
_GENERAL = _define("general_elbo", True)
_FAMILIES = {"elbo": _COMPILED, "general_elbo": _GENERAL}

# Autograd sees the arguments flat, each parameter one of its own: behind them stand target, starts,
# columns, weight, kl, mu, logvar, beta_tensor, and four that are no tensors.
_TENSORS, _OPTIONS = 8, 4
# The bits of `wants`: parameter k has bit k, others have these by their place behind parameters.
_BITS = {4: 1 << 8, 5: 1 << 9, 6: 1 << 10}
_BY_ROW_OR_ELEMENT = frozenset((NONE, SAMPLE, DRAW))
_DOUBLE = torch.float64


def _family(likelihood: int, starts: Tensor | None) -> _Operators:
    return _COMPILED if starts is None and BY_CODE[likelihood].compiled_for_cuda else _GENERAL


def _dims(target: Tensor, starts: Tensor | None) -> int:
    """The target's dimensions; a sparse one is a matrix."""
    return target.dim() if starts is None else 2


def _fake_loss(params: Sequence[Tensor], *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    target, starts, _, weight, kl, mu = args[:6]
    reduction = args[11]
    param = params[0]
    dtype = accumulate_dtype(param, kl, mu)
    if reduction == NONE:
        elements = _order(params, target, starts, weight).empty(param, dtype)
        return elements, param.new_empty(0, dtype=dtype), param.new_empty(0, dtype=dtype)
    lead = param.dim() - _dims(target, starts) + 1
    shape = {SAMPLE: param.shape[lead - 1 : lead], DRAW: param.shape[:lead]}.get(reduction, ())
    parts = (0,) if kl is None and mu is None else shape
    return (
        param.new_empty(shape, dtype=dtype),
        param.new_empty(parts, dtype=dtype),
        param.new_empty(parts, dtype=dtype),
    )


def _order(
    params: Sequence[Tensor],
    target: Tensor,
    starts: Tensor | None,
    weight: Tensor | None,
    grad: Tensor | None = None,
) -> layout.Order:
    """The order of elements in memory that the kernels choose."""
    lead = params[0].dim() - _dims(target, starts) + 1
    whole = [(p, lead) for p in params[1:] if is_element(p, params[0])]
    dense = target if starts is None else None
    return layout.Order(params[0], lead, [*whole, (dense, 1), (weight, 1), (grad, lead)])


def is_element(param: Tensor, first: Tensor) -> bool:
    """Whether a parameter has a value for each element."""
    return param.shape == first.shape


def _fake_gradients(grad: Tensor | None, params: Sequence[Tensor], *args: Any) -> list[Tensor]:
    target, starts, _, weight, kl, mu, logvar = args[:7]
    reduction, wants = args[11:13]
    order = _order(params, target, starts, weight, grad if reduction == NONE else None)
    grads = []
    for k, p in enumerate(params):
        if wants >> k & 1:
            ordered = is_element(p, params[0]) or p.dim() == _dims(target, starts) - 1
            grads.append(order.empty(p, p.dtype) if ordered else p.new_empty(p.shape))
    if wants & _BITS[4]:
        grads.append(kl.new_empty(kl.shape))
    for place, t in ((5, mu), (6, logvar)):
        if wants & _BITS[place]:
            grads.append(layout.Order(mu, 1, ((logvar, 1),)).empty(mu, t.dtype))
    return grads


def _register_fakes(name: str) -> None:
    @register_fake(name)
    def _(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
        return _fake_loss(*args)

    @register_fake(f"{name}_with_grad")
    def _(*args: Any) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        return (*_fake_loss(*args), _fake_gradients(None, *args))

    @register_fake(f"{name}_backward")
    def _(grad: Tensor, *args: Any) -> list[Tensor]:
        return _fake_gradients(grad, *args)

    @register_fake(f"{name}_regrad")
    def _(grad: Tensor, gradients: list[Tensor], *args: Any) -> None:
        return None


_plans: dict[tuple[bool, ...], tuple[int, tuple[int, ...]]] = {}


def _plan(needed: tuple[bool, ...]) -> tuple[int, tuple[int, ...]]:
    """`wants` for the flat arguments that need a gradient, and their places."""
    found = _plans.get(needed)
    if found is not None:
        return found
    parameters = len(needed) - _TENSORS - _OPTIONS
    bits = {k: 1 << k for k in range(parameters)}
    bits |= {parameters + place: bit for place, bit in _BITS.items()}
    places = tuple(place for place in bits if needed[place])
    _plans[needed] = made = (sum(bits[place] for place in places), places)
    return made


def _place(grads: Sequence[Tensor], needed: tuple[bool, ...]) -> list[Tensor | None]:
    """Puts the gradients that were wanted in the places of their inputs."""
    placed: list[Tensor | None] = [None] * len(needed)
    for place, grad in zip(_plan(needed)[1], grads, strict=True):
        placed[place] = grad
    return placed


def _save(ctx: Any, args: Sequence[Any], output: tuple[Tensor, ...]) -> None:
    """Of the flat arguments."""
    ctx.save_for_backward(*args[:-_OPTIONS])
    ctx.options = args[-_OPTIONS:]
    ctx.mark_non_differentiable(*output[1:3])
    ctx.set_materialize_grads(False)


def _recompute(ctx: Any, grad: Tensor, needed: tuple[bool, ...]) -> list[Tensor | None]:
    saved = ctx.saved_tensors
    parameters = len(saved) - _TENSORS
    args = (*saved[parameters:], *ctx.options, _plan(needed)[0])
    operators = _family(ctx.options[1], saved[parameters + 1])
    return _place(operators.backward(grad, saved[:parameters], *args), needed)


def _setup_registered(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _save(ctx, (*inputs[0], *inputs[1:]), output)


def _backward_registered(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    of_params, *of_others = ctx.needs_input_grad
    parameters = len(of_params)
    if grad is None:
        return [None] * parameters, *[None] * (_TENSORS + _OPTIONS)
    placed = _recompute(ctx, grad, (*of_params, *of_others))
    return placed[:parameters], *placed[parameters:]


for _name in _FAMILIES:
    _register_fakes(_name)
    register_autograd(_name, _backward_registered, _setup_registered)


def _composite(parameters: int) -> Any:
    """The reference on flat arguments."""
    return lambda *args: reference.elbo(args[:parameters], *args[parameters:])


class _ELBO(torch.autograd.Function):
    """Route four of `elbo`, on flat arguments."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
        # A per-sample or per-element incoming gradient is almost never 1: no buffer then. Nor is
        # that of float16 parameters, which are trained under a gradient scaler; on a GPU the wasted
        # buffer would cost more than looking at its factor later.
        param, likelihood, reduction = args[0], args[-3], args[-1]
        likely_one = reduction not in _BY_ROW_OR_ELEMENT and not (
            param.is_cuda and param.dtype == torch.float16
        )
        parameters = len(args) - _TENSORS - _OPTIONS
        wants = _plan(ctx.needs_input_grad)[0] if likely_one else 0
        operators = _family(likelihood, args[parameters + 1])
        loss, recon, kl, grads = operators.with_grad(args[:parameters], *args[parameters:], wants)
        ctx.gradients = grads if wants else None
        _save(ctx, args, (loss, recon, kl))
        return loss, recon, kl

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> Any:
        needed = ctx.needs_input_grad
        if grad is None:
            return (None,) * len(needed)
        if needs_composite_backward(grad):
            saved, tensors = ctx.saved_tensors, needed[:-_OPTIONS]
            composite = _composite(len(saved) - _TENSORS)
            grads = differentiable_backward(
                composite, saved, ctx.options, tensors, (grad, None, None)
            )
            return (*grads, *(None,) * _OPTIONS)
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None or type(grad) is not Tensor or is_recorded():
            return tuple(_recompute(ctx, grad, needed))
        if grad.is_cuda:
            saved = ctx.saved_tensors
            parameters = len(saved) - _TENSORS
            args = (*saved[parameters:], *ctx.options, _plan(needed)[0])
            operators = _family(ctx.options[1], saved[parameters + 1])
            operators.regrad(grad, gradients, saved[:parameters], *args)
        elif grad.item() != 1.0:
            return tuple(_recompute(ctx, grad, needed))
        return tuple(_place(gradients, needed))


def takes_sizes(param: Tensor) -> bool:
    """Whether the operators take sizes, as the CPU's kernels do; else PyTorch makes the means."""
    # A sample of one element is no shape of its own.
    return param.is_cpu and compiled_for_cpu() and param.shape[-1] > 1


def elbo(
    params: Sequence[Tensor],
    target: Tensor,
    starts: Tensor | None,
    columns: Tensor | None,
    weight: Tensor | None,
    kl: Tensor | None,
    mu: Tensor | None,
    logvar: Tensor | None,
    beta_tensor: Tensor | None,
    beta: float,
    likelihood: int,
    constants: Sequence[float],
    reduction: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, recon, kl): the ELBO; without a KL the negative log-likelihood and two empties.

    Arguments are checked by the caller.

    Args:
        params: of the likelihood. The first one has the whole shape, ``[B, ...]`` or
            ``[L, B, ...]``; each other one this, that of the event (one value a column),
            ``[B, 1, ...]`` (one a sample), or no dimension (one for all). Behind them may stand
            logarithms of sizes, see `Likelihood.shares`.
        target: ``[B, ...]``, or the values of a sparse one, ``[nnz]``, with
        starts: where its rows start, ``[B + 1]``, and
        columns: theirs, ``[nnz]``, of the same integer dtype, ascending in every row.
        weight: of the target's shape; bool is a mask.
        kl: given, ``[B]``, or else
        mu: of q, for the KL to N(0, 1), and
        logvar: of q.
        beta_tensor: factor of the KL, without dimensions.
        beta: further factor.
        likelihood: code of `vae_fast.likelihoods`.
        constants: of the likelihood.
        reduction: code.
    """
    param = params[0]
    if mu is not None and param.is_cuda and (mu.dtype == _DOUBLE) != (param.dtype == _DOUBLE):
        # One kernel has one arithmetic: a latent in double gets its own.
        kl = gaussian_kl(mu, cast(Tensor, logvar), None, None, SAMPLE)
        mu = logvar = None
    operators = _family(likelihood, starts)
    if BY_CODE[likelihood].has_sizes(params) and not takes_sizes(param):
        params = reference.log_means(params, _dims(target, starts) - 1)
    args = (target, starts, columns, weight, kl, mu, logvar)
    options = (beta_tensor, beta, likelihood, constants, reduction)
    # The kernels have no gradient of targets, weights and beta; PyTorch's autograd has.
    if use_composite(param, operators.general) or needs_grad(target, weight, beta_tensor):
        return reference.elbo(params, *args, *options)
    if torch.compiler.is_compiling():
        result: tuple[Tensor, Tensor, Tensor] = operators.elbo(params, *args, *options)
    elif needs_grad(*params, kl, mu, logvar):
        result = _ELBO.apply(*params, *args, *options)
    else:
        result = operators.with_grad(params, *args, *options, 0)[:3]
    return result
