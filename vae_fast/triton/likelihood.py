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
from .launch import Launch
from .layout import ABSENT, Form, Operand, Rows, dense
from .likelihood_kernel import elbo_kernel
from .plan import Plan, blank, copies, forms, planned
from .tune import LARGEST_SUM, LONGEST, Config, alignment, config, cut, sum_shape

# Codes of the kernels: what is summed over.
_ELEMENTS, _ROWS, _TOTAL = range(3)
_LEVEL = {NONE: _ELEMENTS, SAMPLE: _ROWS, BATCHMEAN: _TOTAL, SUM: _TOTAL, MEAN: _TOTAL}
# What a call computes: losses with gradients, gradients alone, the same unless they are there.
_LOSSES, _GRADIENTS, _AGAIN = range(3)


class _Options(NamedTuple):
    """What a call computes of its tensors."""

    what: int
    likelihood: int
    constant: float
    reduction: int
    wants: int


class _Latent(NamedTuple):
    """The KL's part of a call, [rows, cols]; no rows without a KL."""

    rows: int = 0
    cols: int = 1
    mu: Operand = ABSENT
    logvar: Operand = ABSENT


class _Results(NamedTuple):
    """What a launch writes; None where not wanted."""

    loss: Form | None = None
    recon: Form | None = None
    kl: Form | None = None
    values: Form | None = None
    param: Form | None = None
    param_logvar: Form | None = None
    grad_kl: Form | None = None
    mu: Form | None = None
    logvar: Form | None = None


# The places of the operands, in the order of the schema, that belong to the KL.
_LATENT_PLACES = (4, 5, 6)


class _Call:
    """Calls with tensors of the same forms, as [rows, cols] operands."""

    def __init__(self, options: _Options, *operands: Form | None) -> None:
        tensors = [blank(form) for form in operands]
        self.param, self.param_logvar, self.target, self.weight = tensors[:4]
        self.kl, self.mu, self.logvar, _, self.grad = tensors[4:9]
        self.options = options
        self.level = _LEVEL[options.reduction]
        self.lead = self.param.dim() - self.target.dim() + 1
        self.batch = self.target.shape[0]
        self.samples = self.param.shape[0] if self.lead == 2 else 1
        self.cols = math.prod(self.target.shape[1:])
        self.shared = self.param_logvar is not None and self.param_logvar.dim() == 0
        others = (
            (None if self.shared else self.param_logvar, self.lead),
            (self.target, 1),
            (self.weight, 1),
            (self.grad if self.level == _ELEMENTS else None, self.lead),
        )
        self.order = Rows(self.param, self.lead, others)
        self.latent_order = self.order
        if self.mu is not None:
            self.latent_order = Rows(self.mu, 1, ((self.logvar, 1),))

    def results(self) -> _Results:
        what, _, _, reduction, wants = self.options
        param, lead = self.param, self.lead
        dtype = accumulate_dtype(param, self.kl, self.mu)
        if what == _LOSSES and reduction == NONE:
            return _Results(values=self.order.form(param.shape, lead, dtype))
        losses: list[Form | None] = [None] * 3
        if what == _LOSSES:
            loss = dense((self.batch,) if reduction == SAMPLE else (), dtype)
            part = None if self.kl is None and self.mu is None else loss
            losses = [loss, part, part]
        grads: list[Form | None] = [None] * 5
        if wants & 1:
            grads[0] = self.order.form(param.shape, lead, param.dtype)
        if wants & 2:
            dtype = self.param_logvar.dtype
            grads[1] = (
                dense((), dtype) if self.shared else self.order.form(param.shape, lead, dtype)
            )
        if wants & 4:
            grads[2] = dense(self.kl.shape, self.kl.dtype)
        for place, t in ((3, self.mu), (4, self.logvar)):
            if wants & 1 << place:
                grads[place] = self.latent_order.form(t.shape, 1, t.dtype)
        return _Results._make([*losses, None, *grads])

    def _views(self) -> tuple[int, int, int, list[Operand]]:
        """(rows, batch, cols) and the operands of the likelihood.

        Where all lie densely and no row has a sum of its own, a Monte Carlo sample is one row.
        """
        batch, cols = self.batch, self.cols
        operands = [
            self.order.view(self.param, self.lead, cols),
            self.order.view(None if self.shared else self.param_logvar, self.lead, cols),
            self.order.view(self.target, 1, cols),
            self.order.view(self.weight, 1, cols),
            self.order.view(self.grad if self.level == _ELEMENTS else None, self.lead, cols),
        ]
        if self.level != _ROWS and all(o is ABSENT or o.dense(cols) for o in operands):
            cols *= batch
            batch = 1
            operands = [o if o is ABSENT else Operand(cols, True, o.copy) for o in operands]
        if self.grad is not None and self.level != _ELEMENTS:
            stride = self.grad.stride(0) if self.level == _ROWS else 0
            operands[4] = Operand(stride, False)
        return self.samples * batch if self.batch else 0, max(batch, 1), cols, operands

    def _latent(self) -> _Latent:
        whole = self.level == _TOTAL
        if self.kl is not None:
            return _Latent(1, self.batch) if whole else _Latent(self.batch, 1)
        if self.mu is None or self.logvar is None:
            return _Latent()
        rows, cols = self.batch, math.prod(self.mu.shape[1:])
        views = [self.latent_order.view(t, 1, cols, along=True) for t in (self.mu, self.logvar)]
        if whole and all(v.dense(cols) for v in views):
            rows, cols = 1, rows * cols
            views = [Operand(cols, True, v.copy) for v in views]
        return _Latent(rows, cols, *views)

    def plan(self, device: torch.device, tile: Config) -> Plan:
        """The launch, and what surrounds it; no launch if there is nothing to write."""
        options, level = self.options, self.level
        results = self.results()
        if options.what == _LOSSES and options.reduction == SAMPLE and not self.batch:
            return Plan(device, results, None, {})
        with_loss = results.loss is not None
        with_latent = with_loss or any(r is not None for r in results[6:])
        latent = self._latent() if with_latent else _Latent()
        rows, batch, cols, operands = self._views()
        parts = cut(rows, cols, tile.elements, longest=LONGEST)
        latent_parts = cut(latent.rows, latent.cols, tile.elements)
        units, latent_units = parts.units, latent_parts.units if latent.rows else 0
        shared_grad = self.shared and results.param_logvar is not None
        if not with_loss and all(r is None for r in results[3:6]):
            units = 0
        if units + latent_units == 0:
            return Plan(device, results, None, {})

        replaced = copies(operands[:4])
        if operands[4].copy is not None:
            replaced[8] = operands[4].copy
        if with_latent:
            if self.kl is not None and not self.kl.is_contiguous():
                replaced[4] = dense(self.kl.shape, self.kl.dtype)
            replaced.update({5 + p: form for p, form in copies((latent.mu, latent.logvar)).items()})
        else:
            replaced.update(dict.fromkeys(_LATENT_PLACES))

        sums = units if shared_grad else 0
        sum_rows, sum_cols = 1, LARGEST_SUM
        if with_loss and level == _ROWS:
            sums += rows * parts.chunks + latent.rows * latent_parts.chunks
            sum_rows, sum_cols = sum_shape(max(self.samples * parts.chunks, latent_parts.chunks))
        elif with_loss:
            sums += units + latent_units
        strides = [o.stride for o in operands]
        launch = Launch(
            elbo_kernel,
            units + latent_units,
            device,
            tile.warps,
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
            self.batch if options.reduction == BATCHMEAN else 1,
            latent.mu.stride,
            latent.logvar.stride,
            sums=sums,
            LIKELIHOOD=self._likelihood(),
            CONSTANT=options.constant,
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
            UNLESS_ONE=options.what == _AGAIN,
        )
        return Plan(device, results, launch, replaced)

    def _recon_count(self) -> int:
        """What the sum of the likelihood's elements is divided by."""
        reduction = self.options.reduction
        if reduction == NONE:
            return 1
        count = self.samples
        if reduction in (BATCHMEAN, MEAN):
            count *= self.batch
        return count * self.cols if reduction == MEAN else count

    def _likelihood(self) -> Any:
        if self.options.likelihood == 0:
            return formulas.bernoulli
        return formulas.gaussian_unit if self.param_logvar is None else formulas.gaussian


@planned
def _plan(
    device: torch.device, tile: Config, options: tuple[Any, ...], *tensors: Form | None
) -> Plan:
    """For operands, incoming gradient, and results where they are given."""
    return _Call(_Options(*options), *tensors[:9]).plan(device, tile)


def _run(
    what: int,
    args: Sequence[Any],
    grad: Tensor | None = None,
    results: Sequence[Tensor | None] | None = None,
) -> Any:
    """Launches the kernel; returns what it writes, in the order of `_Results`."""
    *operands, beta, likelihood, constant, reduction, wants = args
    operands.append(grad)
    param = operands[0]
    plan = _plan(
        param.device,
        config("likelihood", param.numel(), param.dtype, param.device),
        (what, likelihood, constant, reduction, wants),
        *forms(operands),
        *forms(results or ()),
    )
    return plan(operands, beta, results=results)


def elbo_with_grad(*args: Any) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """vae_fast::elbo_with_grad."""
    loss, recon, kl, values, *gradients = _run(_LOSSES, args)
    if values is not None:
        loss = values
    if recon is None:
        recon, kl = loss.new_empty(0), loss.new_empty(0)
    return loss, recon, kl, [g for g in gradients if g is not None]


def elbo(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """vae_fast::elbo."""
    return elbo_with_grad(*args, 0)[:3]


def elbo_backward(grad: Tensor, *args: Any) -> list[Tensor]:
    """vae_fast::elbo_backward."""
    return [g for g in _run(_GRADIENTS, args, grad) if g is not None]


def elbo_regrad(grad: Tensor, gradients: Sequence[Tensor], *args: Any) -> None:
    """vae_fast::elbo_regrad: nothing if grad is 1, else all gradients once more, without a sync."""
    wants = args[-1]
    found = iter(gradients)
    placed = [next(found) if wants >> bit & 1 else None for bit in range(5)]
    _run(_AGAIN, args, grad, [None] * 4 + placed)
