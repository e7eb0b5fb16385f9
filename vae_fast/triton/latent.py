"""Operators of the latent layer: sampling with KL, the KL of two Gaussians, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..reference.dtypes import accumulate_dtype
from ..reference.reduce import BATCHMEAN, MEAN, NONE, SAMPLE, SUM
from .latent_kernel import gaussian_kl_kernel, sample_backward_kernel, sample_kernel
from .launch import Launch
from .layout import ABSENT, Form, Operand, Rows, dense
from .plan import Plan, blank, copies, forms, planned
from .tune import LARGEST_SUM, Config, alignment, config, cut, sum_shape

_ELEMENTS, _ROWS, _TOTAL = range(3)
_LEVEL = {NONE: _ELEMENTS, SAMPLE: _ROWS, BATCHMEAN: _TOTAL, SUM: _TOTAL, MEAN: _TOTAL}


def _logical(t: Tensor | None, lead: int, cols: int) -> Operand:
    """An operand in logical order, in which the noise is numbered."""
    return ABSENT if t is None else Rows(t, t.dim()).view(t, lead, cols)


@planned
def _sample_plan(
    device: torch.device,
    tile: Config,
    num_samples: int | None,
    with_kl: bool,
    *tensors: Form | None,
) -> Plan:
    """For mu, logvar, seed and eps."""
    mu, logvar, _seed, eps = (blank(form) for form in tensors)
    batch, cols = mu.shape[0], math.prod(mu.shape[1:])
    rows = batch if num_samples is None else num_samples * batch
    shape = mu.shape if num_samples is None else (num_samples, *mu.shape)
    kl = dense((batch,), accumulate_dtype(mu)) if with_kl else None
    results = (dense(shape, mu.dtype), kl)
    if rows == 0 or (cols == 0 and not with_kl):
        return Plan(device, results, None, {})
    views = [_logical(t, 1, cols) for t in (mu, logvar)]
    replaced = copies(views)
    if eps is not None and not eps.is_contiguous():
        replaced[3] = dense(eps.shape, eps.dtype)
    parts = cut(rows, cols, tile.elements, narrowest=4)
    split = with_kl and parts.chunks > 1
    sum_rows, sum_cols = sum_shape(parts.chunks)
    strides = [v.stride for v in views]
    launch = Launch(
        sample_kernel,
        parts.units,
        device,
        tile.warps,
        rows,
        batch,
        cols,
        parts.chunks,
        *strides,
        sums=batch * parts.chunks if split else 0,
        ALONG=sum(v.along << bit for bit, v in enumerate(views)),
        ALIGNED=alignment(cols, *strides),
        GROUPED=eps is None and cols % 4 == 0,
        SPLIT=split,
        TILE_ROWS=parts.rows,
        TILE_COLS=parts.cols,
        SUM_ROWS=sum_rows,
        SUM_COLS=sum_cols,
    )
    return Plan(device, results, launch, replaced)


def reparameterize_kl(
    mu: Tensor,
    logvar: Tensor,
    seed: Tensor | None,
    eps: Tensor | None,
    num_samples: int | None,
    with_kl: bool,
) -> tuple[Tensor, Tensor]:
    """vae_fast::reparameterize_kl."""
    count = mu.numel() if num_samples is None else num_samples * mu.numel()
    tile = config("latent", count, mu.dtype, mu.device)
    operands = [mu, logvar, seed, eps]
    plan = _sample_plan(mu.device, tile, num_samples, with_kl, *forms(operands))
    z, kl = plan(operands)
    return z, mu.new_empty(0, dtype=accumulate_dtype(mu)) if kl is None else kl


@planned
def _sample_backward_plan(device: torch.device, tile: Config, *tensors: Form | None) -> Plan:
    """For grad_z, grad_kl, mu, logvar, seed and eps."""
    grad_z, grad_kl, mu, logvar, _seed, eps = (blank(form) for form in tensors)
    batch, cols = mu.shape[0], math.prod(mu.shape[1:])
    results = [dense(mu.shape, t.dtype) for t in (mu, logvar)]
    if mu.numel() == 0:
        return Plan(device, results, None, {})
    lead = 1 if grad_z is None else grad_z.dim() - mu.dim() + 1
    samples = grad_z.shape[0] if lead == 2 else 1
    views = [_logical(grad_z, lead, cols), _logical(mu, 1, cols), _logical(logvar, 1, cols)]
    grad_z_view, mu_view, logvar_view = views
    replaced = copies((grad_z_view, ABSENT, mu_view, logvar_view))
    if eps is not None and not eps.is_contiguous():
        replaced[5] = dense(eps.shape, eps.dtype)
    along = (mu_view.along, logvar_view.along, False, False, grad_z_view.along)
    parts = cut(batch, cols, tile.elements, narrowest=4)
    launch = Launch(
        sample_backward_kernel,
        parts.units,
        device,
        tile.warps,
        samples,
        batch,
        cols,
        parts.chunks,
        mu_view.stride,
        logvar_view.stride,
        grad_z_view.stride,
        0 if grad_kl is None else grad_kl.stride(0),
        ALONG=sum(a << bit for bit, a in enumerate(along)),
        ALIGNED=alignment(cols, *(v.stride for v in views)),
        GROUPED=eps is None and cols % 4 == 0,
        TILE_ROWS=parts.rows,
        TILE_COLS=parts.cols,
    )
    return Plan(device, results, launch, replaced)


def reparameterize_kl_backward(
    grad_z: Tensor | None,
    grad_kl: Tensor | None,
    mu: Tensor,
    logvar: Tensor,
    seed: Tensor | None,
    eps: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """vae_fast::reparameterize_kl_backward."""
    tile = config("latent", mu.numel(), mu.dtype, mu.device)
    operands = [grad_z, grad_kl, mu, logvar, seed, eps]
    grad_mu, grad_logvar = _sample_backward_plan(mu.device, tile, *forms(operands))(operands)
    return grad_mu, grad_logvar


@planned
def _kl_plan(
    device: torch.device, tile: Config, reduction: int, wants: int, *tensors: Form | None
) -> Plan:
    """For mu, logvar, prior_mu, prior_logvar and the incoming gradient, None in the forward."""
    *inputs, grad = (blank(form) for form in tensors)
    mu = inputs[0]
    level = _LEVEL[reduction]
    rows, cols = mu.shape[0], math.prod(mu.shape[1:])
    element_grad = grad if level == _ELEMENTS else None
    order = Rows(mu, 1, [(t, 1) for t in (*inputs[1:], element_grad)])
    results = _kl_results(inputs, grad, order, reduction, wants)
    if not any(r is not None and math.prod(r[1]) for r in results):
        return Plan(device, results, None, {})

    operands = [order.view(t, 1, cols) for t in (*inputs, element_grad)]
    replaced = copies(operands)
    count = rows if reduction in (BATCHMEAN, MEAN) else 1
    count *= cols if reduction == MEAN else 1
    if level != _ROWS and all(o is ABSENT or o.dense(cols) for o in operands):
        rows, cols = min(rows, 1), rows * cols
        operands = [o if o is ABSENT else Operand(cols, True) for o in operands]
    if grad is not None and level != _ELEMENTS:
        operands[4] = Operand(grad.stride(0) if level == _ROWS else 0, False)
    parts = cut(rows, cols, tile.elements)
    split = results[0] is not None and (level == _TOTAL or parts.chunks > 1)
    sums = parts.units if level == _TOTAL else rows * parts.chunks
    sum_rows, sum_cols = (1, LARGEST_SUM) if level == _TOTAL else sum_shape(parts.chunks)
    strides = [o.stride for o in operands]
    launch = Launch(
        gaussian_kl_kernel,
        parts.units,
        device,
        tile.warps,
        rows,
        cols,
        parts.chunks,
        count,
        *strides,
        sums=sums if split else 0,
        REDUCTION=level,
        ALONG=sum(o.along << bit for bit, o in enumerate(operands)),
        ALIGNED=alignment(cols, *strides),
        SOME_FULL=rows >= parts.rows and cols >= parts.cols,
        ONE_ROW=rows == 1,
        SPLIT=split,
        TILE_ROWS=parts.rows,
        TILE_COLS=parts.cols,
        SUM_ROWS=sum_rows,
        SUM_COLS=sum_cols,
    )
    return Plan(device, results, launch, replaced)


def _kl_results(
    inputs: Sequence[Any], grad: Tensor | None, order: Rows, reduction: int, wants: int
) -> list[Form | None]:
    """(sums, values, gradients of the four inputs), None where not wanted."""
    mu = inputs[0]
    if grad is not None:
        return [None, None] + [
            order.form(mu.shape, 1, t.dtype) if t is not None and wants >> bit & 1 else None
            for bit, t in enumerate(inputs)
        ]
    dtype = accumulate_dtype(mu)
    if reduction == NONE:
        return [None, order.form(mu.shape, 1, dtype)] + [None] * 4
    return [dense(mu.shape[:1] if reduction == SAMPLE else (), dtype)] + [None] * 5


def gaussian_kl(
    mu: Tensor,
    logvar: Tensor,
    prior_mu: Tensor | None,
    prior_logvar: Tensor | None,
    reduction: int,
) -> Tensor:
    """vae_fast::gaussian_kl."""
    tile = config("latent", mu.numel(), mu.dtype, mu.device)
    operands = [mu, logvar, prior_mu, prior_logvar, None]
    plan = _kl_plan(mu.device, tile, reduction, 0, *forms(operands))
    out, values, *_ = plan(operands)
    result: Tensor = values if out is None else out
    return result


def gaussian_kl_backward(
    grad: Tensor,
    mu: Tensor,
    logvar: Tensor,
    prior_mu: Tensor | None,
    prior_logvar: Tensor | None,
    reduction: int,
    wants: int,
) -> list[Tensor]:
    """vae_fast::gaussian_kl_backward."""
    tile = config("latent", mu.numel(), mu.dtype, mu.device)
    operands = [mu, logvar, prior_mu, prior_logvar, grad]
    plan = _kl_plan(mu.device, tile, reduction, wants, *forms(operands))
    return [g for g in plan(operands) if g is not None]
