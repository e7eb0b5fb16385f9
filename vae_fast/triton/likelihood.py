"""Operators of the loss: negative log-likelihood, the ELBO around it, and their gradients.

One launch each, with what is summed: loss, parts, and the gradients that are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..reference.dtypes import accumulate_dtype
from ..reference.reduce import BATCHMEAN, MEAN, NONE, SAMPLE, SUM
from . import math as formulas
from .launch import counter, launch
from .layout import ABSENT, Operand, Rows
from .likelihood_kernel import elbo_kernel
from .tune import LARGEST_SUM, LONGEST, alignment, config, cut, sum_shape

# Codes of the kernels: what is summed over.
_ELEMENTS, _ROWS, _TOTAL = range(3)
_LEVEL = {NONE: _ELEMENTS, SAMPLE: _ROWS, BATCHMEAN: _TOTAL, SUM: _TOTAL, MEAN: _TOTAL}


class Inputs(NamedTuple):
    """The arguments of the operators that say what is computed, in the order of their schema."""

    param: Tensor
    param_logvar: Tensor | None
    target: Tensor
    weight: Tensor | None
    kl: Tensor | None
    mu: Tensor | None
    logvar: Tensor | None
    beta_tensor: Tensor | None
    beta: float
    likelihood: int
    constant: float
    reduction: int


class _Latent(NamedTuple):
    """The KL's part of a call, [rows, cols]; no rows without a KL."""

    rows: int = 0
    cols: int = 1
    kl: Tensor | None = None
    mu: Operand = ABSENT
    logvar: Operand = ABSENT


class _Results(NamedTuple):
    """What a launch writes; None where not wanted."""

    loss: Tensor | None = None
    recon: Tensor | None = None
    kl: Tensor | None = None
    values: Tensor | None = None
    param: Tensor | None = None
    param_logvar: Tensor | None = None
    grad_kl: Tensor | None = None
    mu: Tensor | None = None
    logvar: Tensor | None = None


class _Call:
    """One call's inputs as [rows, cols] operands."""

    def __init__(self, inputs: Inputs, grad: Tensor | None) -> None:
        param, param_logvar, target, weight = inputs[:4]
        self.inputs, self.grad = inputs, grad
        self.level = _LEVEL[inputs.reduction]
        self.lead = param.dim() - target.dim() + 1
        self.batch = target.shape[0]
        self.samples = param.shape[0] if self.lead == 2 else 1
        self.cols = math.prod(target.shape[1:])
        self.shared = param_logvar is not None and param_logvar.dim() == 0
        others = (
            (None if self.shared else param_logvar, self.lead),
            (target, 1),
            (weight, 1),
            (grad if self.level == _ELEMENTS else None, self.lead),
        )
        self.order = Rows(param, self.lead, others)
        self.latent_order = self.order
        if inputs.mu is not None:
            self.latent_order = Rows(inputs.mu, 1, ((inputs.logvar, 1),))

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.inputs.param.device)

    def gradients(self, wants: int) -> list[Tensor]:
        """Uninitialised tensors for the wanted gradients, in the order of their bits."""
        param, param_logvar, _, _, kl, mu, logvar = self.inputs[:7]
        grads = []
        if wants & 1:
            grads.append(self.order.empty(param.shape, self.lead, param.dtype, param.device))
        if wants & 2:
            assert param_logvar is not None
            dtype = param_logvar.dtype
            grads.append(
                self.new((), dtype)
                if self.shared
                else self.order.empty(param.shape, self.lead, dtype, param.device)
            )
        if wants & 4:
            assert kl is not None
            grads.append(self.new(kl.shape, kl.dtype))
        for bit, t in ((8, mu), (16, logvar)):
            if wants & bit:
                assert t is not None
                grads.append(self.latent_order.empty(t.shape, 1, t.dtype, t.device))
        return grads

    def _views(self) -> tuple[int, int, int, list[Operand]]:
        """(rows, batch, cols) and the operands of the likelihood.

        Where all lie densely and no row has a sum of its own, a Monte Carlo sample is one row.
        """
        param, param_logvar, target, weight = self.inputs[:4]
        batch, cols = self.batch, self.cols
        operands = [
            self.order.view(param, self.lead, cols),
            ABSENT
            if param_logvar is None or self.shared
            else self.order.view(param_logvar, self.lead, cols),
            self.order.view(target, 1, cols),
            ABSENT if weight is None else self.order.view(weight, 1, cols),
            ABSENT,
        ]
        if self.grad is not None and self.level == _ELEMENTS:
            operands[4] = self.order.view(self.grad, self.lead, cols)
        if self.level != _ROWS and all(o is ABSENT or o.dense(cols) for o in operands):
            cols *= batch
            batch = 1
            operands = [o if o is ABSENT else Operand(o.data, cols, True) for o in operands]
        if self.shared:
            operands[1] = Operand(param_logvar, 0, True)
        if self.grad is not None and self.level != _ELEMENTS:
            stride = self.grad.stride(0) if self.level == _ROWS else 0
            operands[4] = Operand(self.grad, stride, False)
        return self.samples * batch if self.batch else 0, max(batch, 1), cols, operands

    def _latent(self) -> _Latent:
        kl, mu, logvar = self.inputs[4:7]
        whole = self.level == _TOTAL
        if kl is not None:
            rows, cols = (1, self.batch) if whole else (self.batch, 1)
            return _Latent(rows, cols, kl.contiguous())
        if mu is None or logvar is None:
            return _Latent()
        rows, cols = self.batch, math.prod(mu.shape[1:])
        views = [self.latent_order.view(t, 1, cols, along=True) for t in (mu, logvar)]
        if whole and all(v.dense(cols) for v in views):
            rows, cols = 1, rows * cols
            views = [Operand(v.data, cols, True) for v in views]
        return _Latent(rows, cols, None, *views)

    def run(self, results: _Results, unless_one: bool = False) -> None:
        """Launches the kernel, unless there is nothing to write."""
        inputs, level = self.inputs, self.level
        loss = results.loss
        latent = _Latent()
        if loss is not None or any(t is not None for t in results[6:]):
            latent = self._latent()
        rows, batch, cols, operands = self._views()
        shape = config("likelihood", rows * cols, inputs.param.dtype, inputs.param.device)
        parts = cut(rows, cols, shape.elements, longest=LONGEST)
        latent_parts = cut(latent.rows, latent.cols, shape.elements)
        units, latent_units = parts.units, latent_parts.units if latent.rows else 0
        shared_grad = self.shared and results.param_logvar is not None
        if loss is None and all(t is None for t in results[3:6]):
            units = 0
        if units + latent_units == 0:
            return

        sums = units if shared_grad else 0
        sum_rows, sum_cols = 1, LARGEST_SUM
        if loss is not None and level == _ROWS:
            sums += rows * parts.chunks + latent.rows * latent_parts.chunks
            sum_rows, sum_cols = sum_shape(max(self.samples * parts.chunks, latent_parts.chunks))
        elif loss is not None:
            sums += units + latent_units
        strides = [o.stride for o in operands]
        present = [o.data for o in operands]
        device = inputs.param.device
        launch(
            elbo_kernel,
            units + latent_units,
            device,
            shape.warps,
            *present[:4],
            latent.kl,
            latent.mu.data,
            latent.logvar.data,
            inputs.beta_tensor,
            present[4],
            *results,
            self.new((sums,), torch.float64) if sums else None,
            counter(device) if sums else None,
            rows,
            batch,
            cols,
            parts.chunks,
            units,
            self._recon_count(),
            *strides,
            latent.rows,
            latent.cols,
            latent_parts.chunks,
            latent_units,
            self.batch if inputs.reduction == BATCHMEAN else 1,
            latent.mu.stride,
            latent.logvar.stride,
            inputs.beta,
            LIKELIHOOD=self._likelihood(),
            CONSTANT=inputs.constant,
            REDUCTION=level,
            ALONG=sum(o.along << bit for bit, o in enumerate(operands)),
            SHARED=self.shared,
            ALIGNED=alignment(cols, *strides),
            SOME_FULL=rows >= parts.rows and cols >= parts.cols,
            ONE_ROW=rows == 1,
            TILES=parts.tiles,
            TILE_ROWS=parts.rows,
            TILE_COLS=parts.cols,
            LATENT_ALIGNED=alignment(latent.cols, latent.mu.stride, latent.logvar.stride),
            LATENT_ROWS=latent_parts.rows,
            LATENT_COLS=latent_parts.cols,
            SUM_ROWS=sum_rows,
            SUM_COLS=sum_cols,
            UNLESS_ONE=unless_one,
        )

    def _recon_count(self) -> int:
        """What the sum of the likelihood's elements is divided by."""
        reduction = self.inputs.reduction
        if reduction == NONE:
            return 1
        count = self.samples
        if reduction in (BATCHMEAN, MEAN):
            count *= self.batch
        return count * self.cols if reduction == MEAN else count

    def _likelihood(self) -> Any:
        if self.inputs.likelihood == 0:
            return formulas.bernoulli
        return formulas.gaussian_unit if self.inputs.param_logvar is None else formulas.gaussian


def _results(
    gradients: Sequence[Tensor],
    wants: int,
    loss: Tensor | None = None,
    recon: Tensor | None = None,
    kl: Tensor | None = None,
) -> _Results:
    """Losses, and gradients in the places of their inputs."""
    found = iter(gradients)
    placed = [next(found) if wants >> bit & 1 else None for bit in range(5)]
    return _Results(loss, recon, kl, None, *placed)


def elbo_with_grad(*args: Any) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """vae_fast::elbo_with_grad."""
    *given, wants = args
    inputs = Inputs(*given)
    call = _Call(inputs, None)
    dtype = accumulate_dtype(inputs.param, inputs.kl, inputs.mu)
    nothing = (0,)
    if inputs.reduction == NONE:
        param = inputs.param
        values = call.order.empty(param.shape, call.lead, dtype, param.device)
        call.run(_Results(values=values))
        return values, call.new(nothing, dtype), call.new(nothing, dtype), []
    gradients = call.gradients(wants)
    shape = (call.batch,) if inputs.reduction == SAMPLE else ()
    with_kl = inputs.kl is not None or inputs.mu is not None
    loss = call.new(shape, dtype)
    recon, kl = (call.new(shape if with_kl else nothing, dtype) for _ in range(2))
    if call.batch or inputs.reduction != SAMPLE:
        parts = (recon, kl) if with_kl else (None, None)
        call.run(_results(gradients, wants, loss, *parts))
    return loss, recon, kl, gradients


def elbo(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """vae_fast::elbo."""
    return elbo_with_grad(*args, 0)[:3]


def elbo_backward(grad: Tensor, *args: Any) -> list[Tensor]:
    """vae_fast::elbo_backward."""
    *given, wants = args
    call = _Call(Inputs(*given), grad)
    gradients = call.gradients(wants)
    call.run(_results(gradients, wants))
    return gradients


def elbo_regrad(grad: Tensor, gradients: Sequence[Tensor], *args: Any) -> None:
    """vae_fast::elbo_regrad: nothing if grad is 1, else all gradients once more, without a sync."""
    *given, wants = args
    call = _Call(Inputs(*given), grad)
    call.run(_results(gradients, wants), unless_one=True)
