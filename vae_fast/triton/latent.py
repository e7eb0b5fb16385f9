"""Operators of the latent layer: sampling with KL, the KL of two Gaussians, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..reference.dtypes import accumulate_dtype
from ..reference.reduce import BATCHMEAN, MEAN, NONE, SAMPLE, SUM
from .latent_kernel import gaussian_kl_kernel, sample_backward_kernel, sample_kernel
from .launch import counter, launch
from .layout import ABSENT, Operand, Rows
from .tune import LARGEST_SUM, alignment, config, cut, sum_shape

_ELEMENTS, _ROWS, _TOTAL = range(3)
_LEVEL = {NONE: _ELEMENTS, SAMPLE: _ROWS, BATCHMEAN: _TOTAL, SUM: _TOTAL, MEAN: _TOTAL}


def _logical(t: Tensor, lead: int, cols: int) -> Operand:
    """An operand in logical order, in which the noise is numbered."""
    return Rows(t, t.dim()).view(t, lead, cols)


def reparameterize_kl(
    mu: Tensor,
    logvar: Tensor,
    seed: Tensor | None,
    eps: Tensor | None,
    num_samples: int | None,
    with_kl: bool,
) -> tuple[Tensor, Tensor]:
    """vae_fast::reparameterize_kl."""
    batch, cols = mu.shape[0], math.prod(mu.shape[1:])
    rows = batch if num_samples is None else num_samples * batch
    shape = mu.shape if num_samples is None else (num_samples, *mu.shape)
    device = mu.device
    z = torch.empty(shape, dtype=mu.dtype, device=device)
    kl = torch.empty(batch if with_kl else 0, dtype=accumulate_dtype(mu), device=device)
    if rows == 0 or (cols == 0 and not with_kl):
        return z, kl
    views = [_logical(t, 1, cols) for t in (mu, logvar)]
    tile = config("latent", rows * cols, mu.dtype, mu.device)
    grouped = eps is None and cols % 4 == 0
    parts = cut(rows, cols, tile.elements, narrowest=4)
    split = with_kl and parts.chunks > 1
    sum_rows, sum_cols = sum_shape(parts.chunks)
    launch(
        sample_kernel,
        parts.units,
        device,
        tile.warps,
        views[0].data,
        views[1].data,
        seed,
        None if eps is None else eps.contiguous(),
        z,
        kl if with_kl else None,
        torch.empty(batch * parts.chunks, dtype=torch.float64, device=device) if split else None,
        counter(device) if split else None,
        rows,
        batch,
        cols,
        parts.chunks,
        *(v.stride for v in views),
        ALONG=sum(v.along << bit for bit, v in enumerate(views)),
        ALIGNED=alignment(cols, *(v.stride for v in views)),
        GROUPED=grouped,
        SPLIT=split,
        TILE_ROWS=parts.rows,
        TILE_COLS=parts.cols,
        SUM_ROWS=sum_rows,
        SUM_COLS=sum_cols,
    )
    return z, kl


def reparameterize_kl_backward(
    grad_z: Tensor | None,
    grad_kl: Tensor | None,
    mu: Tensor,
    logvar: Tensor,
    seed: Tensor | None,
    eps: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """vae_fast::reparameterize_kl_backward."""
    batch, cols = mu.shape[0], math.prod(mu.shape[1:])
    grad_mu = torch.empty(mu.shape, dtype=mu.dtype, device=mu.device)
    grad_logvar = torch.empty(mu.shape, dtype=logvar.dtype, device=mu.device)
    if grad_mu.numel() == 0:
        return grad_mu, grad_logvar
    views = [_logical(t, 1, cols) for t in (mu, logvar)]
    samples, z_view = 1, ABSENT
    if grad_z is not None:
        lead = grad_z.dim() - mu.dim() + 1
        samples = grad_z.shape[0] if lead == 2 else 1
        z_view = _logical(grad_z, lead, cols)
    along = [v.along for v in views] + [False, False, z_view.along]
    tile = config("latent", batch * cols, mu.dtype, mu.device)
    parts = cut(batch, cols, tile.elements, narrowest=4)
    launch(
        sample_backward_kernel,
        parts.units,
        mu.device,
        tile.warps,
        z_view.data,
        grad_kl,
        views[0].data,
        views[1].data,
        seed,
        None if eps is None else eps.contiguous(),
        grad_mu,
        grad_logvar,
        samples,
        batch,
        cols,
        parts.chunks,
        *(v.stride for v in views),
        z_view.stride,
        0 if grad_kl is None else grad_kl.stride(0),
        ALONG=sum(a << bit for bit, a in enumerate(along)),
        ALIGNED=alignment(cols, z_view.stride, *(v.stride for v in views)),
        GROUPED=eps is None and cols % 4 == 0,
        TILE_ROWS=parts.rows,
        TILE_COLS=parts.cols,
    )
    return grad_mu, grad_logvar


def _launch_kl(
    inputs: Sequence[Tensor | None],
    order: Rows,
    reduction: int,
    grad: Tensor | None,
    out: Tensor | None,
    values: Tensor | None,
    grads: Sequence[Tensor | None],
) -> None:
    """Launches the KL's kernel on (mu, logvar, prior_mu, prior_logvar)."""
    mu = inputs[0]
    assert mu is not None
    level = _LEVEL[reduction]
    rows, cols = mu.shape[0], math.prod(mu.shape[1:])
    count = rows if reduction in (BATCHMEAN, MEAN) else 1
    count *= cols if reduction == MEAN else 1
    operands = [ABSENT if t is None else order.view(t, 1, cols) for t in (*inputs, None)]
    if grad is not None and level == _ELEMENTS:
        operands[4] = order.view(grad, 1, cols)
    if level != _ROWS and all(o is ABSENT or o.dense(cols) for o in operands):
        rows, cols = min(rows, 1), rows * cols
        operands = [o if o is ABSENT else Operand(o.data, cols, True) for o in operands]
    if grad is not None and level != _ELEMENTS:
        operands[4] = Operand(grad, grad.stride(0) if level == _ROWS else 0, False)
    tile = config("latent", rows * cols, mu.dtype, mu.device)
    parts = cut(rows, cols, tile.elements)
    split = out is not None and (level == _TOTAL or parts.chunks > 1)
    sums = parts.units if level == _TOTAL else rows * parts.chunks
    sum_rows, sum_cols = (1, LARGEST_SUM) if level == _TOTAL else sum_shape(parts.chunks)
    strides = [o.stride for o in operands]
    launch(
        gaussian_kl_kernel,
        parts.units,
        mu.device,
        tile.warps,
        *(o.data for o in operands),
        out,
        values,
        *grads,
        torch.empty(sums, dtype=torch.float64, device=mu.device) if split else None,
        counter(mu.device) if split else None,
        rows,
        cols,
        parts.chunks,
        count,
        *strides,
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


def gaussian_kl(
    mu: Tensor,
    logvar: Tensor,
    prior_mu: Tensor | None,
    prior_logvar: Tensor | None,
    reduction: int,
) -> Tensor:
    """vae_fast::gaussian_kl."""
    inputs = (mu, logvar, prior_mu, prior_logvar)
    order = Rows(mu, 1, [(t, 1) for t in inputs[1:]])
    dtype = accumulate_dtype(mu)
    if reduction == NONE:
        result = values = order.empty(mu.shape, 1, dtype, mu.device)
        out = None
    else:
        shape = mu.shape[:1] if reduction == SAMPLE else ()
        result = out = torch.empty(shape, dtype=dtype, device=mu.device)
        values = None
    if result.numel():
        _launch_kl(inputs, order, reduction, None, out, values, (None,) * 4)
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
    inputs = (mu, logvar, prior_mu, prior_logvar)
    others = [(t, 1) for t in inputs[1:]] + [(grad if reduction == NONE else None, 1)]
    order = Rows(mu, 1, others)
    grads = [
        order.empty(mu.shape, 1, t.dtype, mu.device) if t is not None and wants >> bit & 1 else None
        for bit, t in enumerate(inputs)
    ]
    found = [g for g in grads if g is not None]
    if found and mu.numel():
        _launch_kl(inputs, order, reduction, grad, None, None, grads)
    return found
