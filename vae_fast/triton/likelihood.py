"""Operators of the loss: negative log-likelihood, the ELBO around it, and their gradients.

One launch each, with what is summed: loss, parts, and the gradients that are wanted. The gradient
of a parameter that columns or samples share is a launch of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..likelihoods import (
    BERNOULLI,
    BY_CODE,
    GAUSSIAN,
    LAPLACE,
    NEGATIVE_BINOMIAL,
    NEGATIVE_BINOMIAL_MIXTURE,
    POISSON,
    ZERO_INFLATED_NEGATIVE_BINOMIAL,
)
from ..reference.dtypes import accumulate_dtype
from ..reference.reduce import BATCHMEAN, DRAW, MEAN, NONE, SAMPLE, SUM
from . import count_functors as counts
from . import functors
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
# How a parameter is shared, as csrc/operand.h numbers it.
_ELEMENT, _COLUMN, _SAMPLE, _ONE = range(4)
_PARAMETERS = 5  # of a likelihood, at most
# The places of operands behind those of parameters, in the order of the schema, and of results.
_TARGET, _STARTS, _COLUMNS, _WEIGHT, _KL, _MU, _LOGVAR, _, _GRAD = range(5, 14)
_FIRST_GRADIENT = 4
# The bits of `wants`, in the order of the gradients.
_BITS = (*range(_PARAMETERS), 8, 9, 10)
# Functors by the registry's codes; by the number of parameters, or by constants of their own.
_FUNCTORS: dict[int, Callable[[int, Sequence[float]], Any]] = {
    BERNOULLI.code: lambda n, c: functors.bernoulli,
    GAUSSIAN.code: lambda n, c: functors.gaussian if n > 1 else functors.gaussian_unit,
    LAPLACE.code: lambda n, c: functors.laplace if n > 1 else functors.laplace_unit,
    POISSON.code: lambda n, c: functors.poisson_full if c[1] else functors.poisson,
    NEGATIVE_BINOMIAL.code: lambda n, c: (
        counts.negative_binomial_of_logs if c[2] else counts.negative_binomial
    ),
    ZERO_INFLATED_NEGATIVE_BINOMIAL.code: lambda n, c: (
        counts.zero_inflated_of_logs if c[2] else counts.zero_inflated
    ),
    NEGATIVE_BINOMIAL_MIXTURE.code: lambda n, c: (
        (counts.mixture_of_one_theta, counts.mixture_of_one_theta_of_logs)
        if n == 4
        else (counts.negative_binomial_mixture, counts.negative_binomial_mixture_of_logs)
    )[c[2] != 0],
}
# Their functors include log Gamma(t + 1).
_WITH_GAMMA = (
    NEGATIVE_BINOMIAL.code,
    ZERO_INFLATED_NEGATIVE_BINOMIAL.code,
    NEGATIVE_BINOMIAL_MIXTURE.code,
)
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
    param0: Form | None = None
    param1: Form | None = None
    param2: Form | None = None
    param3: Form | None = None
    param4: Form | None = None
    grad_kl: Form | None = None
    mu: Form | None = None
    logvar: Form | None = None


class _Call:
    """Calls with tensors of the same forms, as [rows, cols] operands."""

    def __init__(self, options: _Options, *operands: Form | None) -> None:
        tensors = [blank(form) for form in operands]
        self.params = [t for t in tensors[:_PARAMETERS] if t is not None]
        self.target, self.starts, self.columns, self.weight = tensors[_TARGET : _WEIGHT + 1]
        self.kl, self.mu, self.logvar, _, self.grad = tensors[_KL : _GRAD + 1]
        if BY_CODE[options.likelihood].has_sizes(self.params):
            raise RuntimeError(
                "the CPU's kernels began this call, of means that are shares of a size, and no"
                " others can go on with it: choose the backend before the forward"
            )
        self.param = self.params[0]
        self.options = options
        self.level = _LEVEL[options.reduction]
        self.sparse = self.starts is not None
        self.target_dim = 2 if self.sparse else self.target.dim()
        self.lead = self.param.dim() - self.target_dim + 1
        self.batch = self.param.shape[self.lead - 1]
        self.samples = self.param.shape[0] if self.lead == 2 else 1
        self.cols = math.prod(self.param.shape[self.lead :])
        self.bindings = [self._binding(t) for t in self.params]
        whole = [t for t, b in zip(self.params, self.bindings, strict=True) if b == _ELEMENT]
        others = [(t, self.lead) for t in whole[1:]]
        if not self.sparse:
            others.append((self.target, 1))
        others.append((self.weight, 1))
        others.append((self.grad if self.level == _ELEMENTS else None, self.lead))
        self.order = Rows(self.param, self.lead, others)
        self.latent_order = self.order
        if self.mu is not None:
            self.latent_order = Rows(self.mu, 1, ((self.logvar, 1),))

    def _binding(self, t: Tensor) -> int:
        """How a parameter is shared, by its shape."""
        if t.shape == self.param.shape:
            return _ELEMENT
        if t.dim() == 0:
            return _ONE
        return _COLUMN if t.dim() == self.target_dim - 1 else _SAMPLE

    def _gradient(self, k: int) -> Form:
        """A dense tensor like a parameter, in the order of the call."""
        t, binding = self.params[k], self.bindings[k]
        if binding in (_ONE, _SAMPLE):
            return dense(t.shape, t.dtype)
        return self.order.form(t.shape, self.lead if binding == _ELEMENT else 0, t.dtype)

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
        grads: list[Form | None] = [None] * len(_BITS)
        for k in range(len(self.params)):
            if wants >> k & 1:
                grads[k] = self._gradient(k)
        if wants >> _BITS[_PARAMETERS] & 1:
            grads[_PARAMETERS] = dense(self.kl.shape, self.kl.dtype)
        for place, t in enumerate((self.mu, self.logvar), _PARAMETERS + 1):
            if wants >> _BITS[place] & 1:
                grads[place] = self.latent_order.form(t.shape, 1, t.dtype)
        return _Results._make([*losses, None, *grads])

    def _views(self) -> tuple[int, int, int, list[Operand]]:
        """(rows, batch, cols) and the operands of the likelihood: parameters, target, weight, grad.

        Where all lie densely and no row has a sum of its own, a Monte Carlo sample is one row.
        """
        batch, cols = self.batch, self.cols
        params = [self._view(k) for k in range(len(self.params))]
        operands = [
            *params,
            *[ABSENT] * (_PARAMETERS - len(params)),
            ABSENT if self.sparse else self.order.view(self.target, 1, cols),
            self.order.view(self.weight, 1, cols),
            self.order.view(self.grad if self.level == _ELEMENTS else None, self.lead, cols),
        ]
        shared = any(b in (_COLUMN, _SAMPLE) for b in self.bindings)
        joined = self.level in (_ELEMENTS, _TOTAL) and not shared and not self.sparse
        if joined and all(o is ABSENT or o.dense(cols) for o in operands):
            cols *= batch
            batch = 1
            operands = [o if o is ABSENT else Operand(cols, True, o.copy) for o in operands]
        if self.grad is not None and self.level != _ELEMENTS:
            operands[-1] = self._view_rows_of_grad()
        return self.samples * batch if self.batch else 0, max(batch, 1), cols, operands

    def _view(self, k: int) -> Operand:
        """A parameter's."""
        t, binding = self.params[k], self.bindings[k]
        if binding == _ELEMENT:
            return self.order.view(t, self.lead, self.cols)
        if binding == _COLUMN:
            return self.order.view(t, 0, self.cols)._replace(stride=0)
        return Operand(t.stride(0), False) if binding == _SAMPLE else ABSENT

    def _copies(self, operands: Sequence[Operand]) -> dict[int, Form | None]:
        """The places of operands that kernels get as copies."""
        places = (*range(_PARAMETERS), _TARGET, _WEIGHT, _GRAD)
        return {places[at]: form for at, form in copies(operands).items()}

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
        with_latent = with_loss or any(r is not None for r in results[-3:])
        latent = self._latent() if with_latent else _Latent()
        rows, batch, cols, operands = self._views()
        parts = cut(rows, cols, tile.elements, longest=LONGEST)
        latent_parts = cut(latent.rows, latent.cols, tile.elements)
        units, latent_units = parts.units, latent_parts.units if latent.rows else 0
        # Sums over what shares a parameter have launches of their own.
        grads = results[_FIRST_GRADIENT : _FIRST_GRADIENT + _PARAMETERS]
        pairs = zip(self.bindings, grads, strict=False)
        stored = results.values or any(g for b, g in pairs if b == _ELEMENT)
        if not with_loss and not stored:
            units = 0
        if units + latent_units == 0:
            return Plan(device, results, None, {})

        replaced = self._copies(operands)
        if with_latent:
            if self.kl is not None and not self.kl.is_contiguous():
                replaced[_KL] = dense(self.kl.shape, self.kl.dtype)
            of_latent = copies((latent.mu, latent.logvar))
            replaced.update({_MU + place: form for place, form in of_latent.items()})
        else:
            replaced.update(dict.fromkeys((_KL, _MU, _LOGVAR)))

        draws = self.samples if level == _ROWS else 1
        by_row = level in (_ROWS, _DRAWS)
        direct = with_loss and by_row and not latent.rows and draws * parts.chunks == 1
        sums = 0
        sum_rows, sum_cols = 1, LARGEST_SUM
        if with_loss and by_row and not direct:
            sums = rows * parts.chunks + latent.rows * latent_parts.chunks
            sum_rows, sum_cols = sum_shape(max(draws * parts.chunks, latent_parts.chunks))
        elif with_loss and not by_row:
            sums = units + latent_units
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
            WITHOUT_GAMMA=options.likelihood in _WITH_GAMMA and not options.constants[1],
            ALONG=sum(o.along << bit for bit, o in enumerate(operands)),
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

    def shared_plan(self, device: torch.device, tile: Config, which: int) -> Plan:
        """The launch of the sums for a shared parameter's gradient; see `_finish_shared`."""
        rows, batch, cols, operands = self._views()
        columns = self.bindings[which] == _COLUMN
        tile_cols = min(power_of_two(cols), tile.elements, _COLUMNS if columns else tile.elements)
        group = max(_LEAST_GROUP, -(-rows // _MOST_GROUPS))
        tile_rows = min(power_of_two(group if columns else rows), tile.elements // tile_cols)
        if not columns:
            group = tile_rows
        chunks = -(-cols // tile_cols) if columns else 1
        groups = -(-rows // group)
        sums = dense((groups, cols) if columns else (rows,), torch.float64)
        strides = [o.stride for o in operands]
        replaced = self._copies(operands)
        if _GRAD in replaced:  # behind the weight there
            replaced[_WEIGHT + 1] = replaced.pop(_GRAD)
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
            ALONG=sum(o.along << bit for bit, o in enumerate(operands)),
            WHICH=which,
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
        code, constants, number = (*self.options[1:3], len(self.params))
        return {
            "LIKELIHOOD": _FUNCTORS[code](number, constants),
            "PARAMETERS": number,
            "BYTES": BY_CODE[code].bytes_to_unit,
            "MASK": self.weight is not None and self.weight.dtype == torch.bool,
            "STEPS": self.cols.bit_length() if self.sparse else 0,
            "REDUCTION": self.level,
            "BINDING": sum(b << 2 * k for k, b in enumerate(self.bindings)),
        }


@planned
def _plan(
    device: torch.device, tile: Config, options: tuple[Any, ...], *tensors: Form | None
) -> Plan:
    """For operands, incoming gradient, and results where they are given."""
    return _Call(_Options(*options), *tensors[: _GRAD + 1]).plan(device, tile)


@planned
def _shared_plan(
    device: torch.device, tile: Config, options: tuple[Any, ...], which: int, *tensors: Form | None
) -> Plan:
    """The same for the gradient of a shared parameter."""
    return _Call(_Options(*options), *tensors).shared_plan(device, tile, which)


def _run(
    what: int,
    args: Sequence[Any],
    grad: Tensor | None = None,
    results: Sequence[Tensor | None] | None = None,
) -> Any:
    """Launches the kernels; returns what they write, in the order of `_Results`."""
    params, *others = args
    *tensors, beta, likelihood, constants, reduction, wants = others
    param = params[0]
    operands = [*params, *[None] * (_PARAMETERS - len(params)), *tensors, grad]
    tile = config("likelihood", param.numel(), param.dtype, param.device)
    options = (what, likelihood, tuple(constants), reduction, wants)
    described = forms(operands)
    plan = _plan(param.device, tile, options, *described, *forms(results or ()))
    given = list(operands)  # a plan puts copies in its operands' places
    results = plan(operands, beta, results=results)
    for which, t in enumerate(params):
        result = results[_FIRST_GRADIENT + which]
        if result is None or t.shape == param.shape:
            continue
        if not param.numel():
            result.zero_()
        else:
            summed = _shared_plan(param.device, tile, options, which, *described)
            (sums,) = summed([*given[: _WEIGHT + 1], given[_GRAD]])
            _finish_shared(sums, result, grad if what == _AGAIN else None)
    return results


def _finish_shared(sums: Tensor, result: Tensor, unless_one: Tensor | None) -> None:
    """Adds the groups of rows, or the Monte Carlo samples, or all rows, in order."""
    total = sums.view(-1, result.numel()).sum(0)
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
    _run(_AGAIN, args, grad, [None] * _FIRST_GRADIENT + placed)
