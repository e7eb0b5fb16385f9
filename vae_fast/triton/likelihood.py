"""Operators of the loss: negative log-likelihood, the ELBO around it, and their gradients.

One launch each, with what is summed: loss, parts, and the gradients that are wanted. The gradient
of a parameter that columns or samples share is a launch of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..likelihoods import BERNOULLI, BY_CODE, GAUSSIAN, LAPLACE, POISSON
from ..reference.dtypes import accumulate_dtype
from ..reference.reduce import BATCHMEAN, DRAW, MEAN, NONE, SAMPLE, SUM
from . import math as formulas
from .launch import Launch
from .layout import ABSENT, Form, Operand, Rows, dense
from .likelihood_kernel import elbo_kernel
from .plan import Plan, blank, copies, forms, planned
from .shared_gradient_kernel import shared_gradient_kernel
from .tune import LARGEST_SUM, LONGEST, Config, alignment, config, cut, power_of_two, sum_shape

# Codes of the kernels: what is summed over.
_ELEMENTS, _ROWS, _TOTAL, _DRAWS = range(4)
_LEVEL = {
    NONE: _ELEMENTS,
    SAMPLE: _ROWS,
    DRAW: _DRAWS,
    BATCHMEAN: _TOTAL,
    SUM: _TOTAL,
    MEAN: _TOTAL,
}
# How the last parameter is shared, as csrc/operand.h numbers it.
_ELEMENT, _COLUMN, _SAMPLE, _ONE = range(4)
# The bits of `wants`, in the order of the gradients.
_BITS = (0, 1, 8, 9, 10)
# Functors of one and of two parameters, by the registry's codes; of Poisson without and in full.
_FUNCTORS = {
    BERNOULLI.code: (formulas.bernoulli, formulas.bernoulli),
    GAUSSIAN.code: (formulas.gaussian_unit, formulas.gaussian),
    LAPLACE.code: (formulas.laplace_unit, formulas.laplace),
    POISSON.code: (formulas.poisson, formulas.poisson_full),
}
# Rows that a program sums for a column, at least; groups of them, and columns, at most.
_LEAST_GROUP, _MOST_GROUPS, _COLUMNS = 32, 64, 256
# What a call computes: losses with gradients, gradients alone, the same unless they are there.
_LOSSES, _GRADIENTS, _AGAIN = range(3)


class _Options(NamedTuple):
    """What a call computes of its tensors."""

    what: int
    likelihood: int
    constants: tuple[float, ...]
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
    last: Form | None = None
    grad_kl: Form | None = None
    mu: Form | None = None
    logvar: Form | None = None


# The places of the operands, in the order of the schema, that belong to the KL.
_LATENT_PLACES = (4, 5, 6)


class _Call:
    """Calls with tensors of the same forms, as [rows, cols] operands."""

    def __init__(self, options: _Options, *operands: Form | None) -> None:
        tensors = [blank(form) for form in operands]
        self.param, self.last, self.target, self.weight = tensors[:4]
        self.kl, self.mu, self.logvar, _, self.grad = tensors[4:9]
        self.options = options
        self.level = _LEVEL[options.reduction]
        self.lead = self.param.dim() - self.target.dim() + 1
        self.batch = self.target.shape[0]
        self.samples = self.param.shape[0] if self.lead == 2 else 1
        self.cols = math.prod(self.target.shape[1:])
        self.binding = self._binding()
        others = (
            (self.last if self.binding == _ELEMENT else None, self.lead),
            (self.target, 1),
            (self.weight, 1),
            (self.grad if self.level == _ELEMENTS else None, self.lead),
        )
        self.order = Rows(self.param, self.lead, others)
        self.latent_order = self.order
        if self.mu is not None:
            self.latent_order = Rows(self.mu, 1, ((self.logvar, 1),))

    def _binding(self) -> int:
        """How the last parameter is shared, by its shape."""
        if self.last is None or self.last.shape == self.param.shape:
            return _ELEMENT
        if self.last.dim() == 0:
            return _ONE
        return _COLUMN if self.last.dim() == self.target.dim() - 1 else _SAMPLE

    def _last_form(self) -> Form:
        """A dense tensor like the last parameter, in the order of the call."""
        shape, dtype = self.last.shape, self.last.dtype
        if self.binding in (_ONE, _SAMPLE):
            return dense(shape, dtype)
        return self.order.form(shape, self.lead if self.binding == _ELEMENT else 0, dtype)

    def results(self) -> _Results:
        what, _, _, reduction, wants = self.options
        param, lead = self.param, self.lead
        dtype = accumulate_dtype(param, self.kl, self.mu)
        if what == _LOSSES and reduction == NONE:
            return _Results(values=self.order.form(param.shape, lead, dtype))
        losses: list[Form | None] = [None] * 3
        if what == _LOSSES:
            shape = {SAMPLE: (self.batch,), DRAW: tuple(param.shape[:lead])}.get(reduction, ())
            loss = dense(shape, dtype)
            part = None if self.kl is None and self.mu is None else loss
            losses = [loss, part, part]
        grads: list[Form | None] = [None] * 5
        if wants & 1:
            grads[0] = self.order.form(param.shape, lead, param.dtype)
        if wants & 2:
            grads[1] = self._last_form()
        if wants >> _BITS[2] & 1:
            grads[2] = dense(self.kl.shape, self.kl.dtype)
        for place, t in ((3, self.mu), (4, self.logvar)):
            if wants >> _BITS[place] & 1:
                grads[place] = self.latent_order.form(t.shape, 1, t.dtype)
        return _Results._make([*losses, None, *grads])

    def _views(self) -> tuple[int, int, int, list[Operand]]:
        """(rows, batch, cols) and the operands of the likelihood.

        Where all lie densely and no row has a sum of its own, a Monte Carlo sample is one row.
        """
        batch, cols = self.batch, self.cols
        operands = [
            self.order.view(self.param, self.lead, cols),
            self._view_last(),
            self.order.view(self.target, 1, cols),
            self.order.view(self.weight, 1, cols),
            self.order.view(self.grad if self.level == _ELEMENTS else None, self.lead, cols),
        ]
        joined = self.level in (_ELEMENTS, _TOTAL) and self.binding in (_ELEMENT, _ONE)
        if joined and all(o is ABSENT or o.dense(cols) for o in operands):
            cols *= batch
            batch = 1
            operands = [o if o is ABSENT else Operand(cols, True, o.copy) for o in operands]
        if self.grad is not None and self.level != _ELEMENTS:
            operands[4] = self._view_rows_of_grad()
        return self.samples * batch if self.batch else 0, max(batch, 1), cols, operands

    def _view_last(self) -> Operand:
        if self.binding == _ELEMENT:
            return self.order.view(self.last, self.lead, self.cols)
        if self.binding == _COLUMN:
            return self.order.view(self.last, 0, self.cols)._replace(stride=0)
        return Operand(self.last.stride(0), False) if self.binding == _SAMPLE else ABSENT

    def _view_rows_of_grad(self) -> Operand:
        """An incoming gradient of each row, or one of all."""
        if self.level == _TOTAL:
            return Operand(0, False)
        if self.level == _DRAWS and not self.grad.is_contiguous():
            return Operand(1, False, dense(self.grad.shape, self.grad.dtype))
        return Operand(1 if self.level == _DRAWS else self.grad.stride(0), False)

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
        if options.what == _LOSSES and level in (_ROWS, _DRAWS) and not self.batch:
            return Plan(device, results, None, {})
        with_loss = results.loss is not None
        with_latent = with_loss or any(r is not None for r in results[6:])
        latent = self._latent() if with_latent else _Latent()
        rows, batch, cols, operands = self._views()
        parts = cut(rows, cols, tile.elements, longest=LONGEST)
        latent_parts = cut(latent.rows, latent.cols, tile.elements)
        units, latent_units = parts.units, latent_parts.units if latent.rows else 0
        shared_grad = self.binding == _ONE and results.last is not None
        # Sums over columns or samples have a launch of their own.
        summed = self.binding in (_COLUMN, _SAMPLE)
        stored = (results.values, results.param, None if summed else results.last)
        if not with_loss and all(r is None for r in stored):
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

        draws = self.samples if level == _ROWS else 1
        by_row = level in (_ROWS, _DRAWS)
        direct = with_loss and by_row and not latent.rows and draws * parts.chunks == 1
        sums = units if shared_grad else 0
        sum_rows, sum_cols = 1, LARGEST_SUM
        if with_loss and by_row and not direct:
            sums += rows * parts.chunks + latent.rows * latent_parts.chunks
            sum_rows, sum_cols = sum_shape(max(draws * parts.chunks, latent_parts.chunks))
        elif with_loss and not by_row:
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
            **self._formula(),
            CONSTANT=options.constants[0],
            REDUCTION=level,
            ALONG=sum(o.along << bit for bit, o in enumerate(operands)),
            BINDING=self.binding,
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
            DIRECT=direct,
        )
        return Plan(device, results, launch, replaced)

    def shared_plan(self, device: torch.device, tile: Config) -> Plan:
        """The launch of the sums for the last parameter's gradient; see `_finish_shared`."""
        rows, batch, cols, operands = self._views()
        assert batch == max(self.batch, 1), "rows are not joined"
        replaced = copies(operands[:4]) | (
            {} if operands[4].copy is None else {4: operands[4].copy}
        )
        columns = self.binding == _COLUMN
        tile_cols = min(power_of_two(cols), tile.elements, _COLUMNS if columns else tile.elements)
        group = max(_LEAST_GROUP, -(-rows // _MOST_GROUPS))
        tile_rows = min(power_of_two(group if columns else rows), tile.elements // tile_cols)
        if not columns:
            group = tile_rows
        chunks = -(-cols // tile_cols) if columns else 1
        groups = -(-rows // group)
        sums = dense((groups, cols) if columns else (self.samples, self.batch), torch.float64)
        strides = [o.stride for o in operands]
        if not rows * cols:
            return Plan(device, [sums], None, {})
        launch = Launch(
            shared_gradient_kernel,
            groups * chunks,
            device,
            tile.warps,
            rows,
            batch,
            cols,
            chunks,
            group,
            self._recon_count(),
            *strides,
            **self._formula(),
            REDUCTION=self.level,
            ALONG=sum(o.along << bit for bit, o in enumerate(operands)),
            BINDING=self.binding,
            TILE_ROWS=tile_rows,
            TILE_COLS=tile_cols,
        )
        return Plan(device, [sums], launch, replaced)

    def _recon_count(self) -> int:
        """What the sum of the likelihood's elements is divided by."""
        reduction = self.options.reduction
        if reduction in (NONE, DRAW):
            return 1
        count = self.samples
        if reduction in (BATCHMEAN, MEAN):
            count *= self.batch
        return count * self.cols if reduction == MEAN else count

    def _formula(self) -> dict[str, Any]:
        """The kernels' constants that say what an element is."""
        code, constants = self.options.likelihood, self.options.constants
        full = code == POISSON.code and constants[1] != 0
        second = full or self.last is not None
        return {
            "LIKELIHOOD": _FUNCTORS[code][second],
            "BYTES": BY_CODE[code].bytes_to_unit,
            "MASK": self.weight is not None and self.weight.dtype == torch.bool,
        }


@planned
def _plan(
    device: torch.device, tile: Config, options: tuple[Any, ...], *tensors: Form | None
) -> Plan:
    """For operands, incoming gradient, and results where they are given."""
    return _Call(_Options(*options), *tensors[:9]).plan(device, tile)


@planned
def _shared_plan(
    device: torch.device, tile: Config, options: tuple[Any, ...], *tensors: Form | None
) -> Plan:
    """The same for the gradient of a last parameter that columns or samples share."""
    return _Call(_Options(*options), *tensors).shared_plan(device, tile)


def _run(
    what: int,
    args: Sequence[Any],
    grad: Tensor | None = None,
    results: Sequence[Tensor | None] | None = None,
) -> Any:
    """Launches the kernels; returns what they write, in the order of `_Results`."""
    params, target, starts, columns, *others = args
    *tensors, beta, likelihood, constants, reduction, wants = others
    param, last = params[0], params[1] if len(params) > 1 else None
    operands = [param, last, target, *tensors, grad]
    tile = config("likelihood", param.numel(), param.dtype, param.device)
    options = (what, likelihood, tuple(constants), reduction, wants)
    described = forms(operands)
    plan = _plan(param.device, tile, options, *described, *forms(results or ()))
    given = list(operands)  # a plan puts copies in its operands' places
    results = plan(operands, beta, results=results)
    if last is not None and last.dim() and last.shape != param.shape and results[5] is not None:
        summed = _shared_plan(param.device, tile, options, *described)
        (sums,) = summed([*given[:4], given[8]])
        _finish_shared(sums, results[5], grad if what == _AGAIN else None)
    return results


def _finish_shared(sums: Tensor, result: Tensor, unless_one: Tensor | None) -> None:
    """Adds the groups of rows, or the Monte Carlo samples, in order."""
    total = sums.sum(0)
    # Results lie densely, in the order of the columns.
    flat = result.as_strided((result.numel(),), (1,))
    if unless_one is not None:
        total = torch.where(unless_one == 1, flat.double(), total)
    flat.copy_(total)


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
    placed = [next(found) if wants >> bit & 1 else None for bit in _BITS]
    _run(_AGAIN, args, grad, [None] * 4 + placed)
