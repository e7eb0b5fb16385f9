"""Negative log-likelihoods and the ELBO around them in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..likelihoods import BY_CODE
from .dtypes import accumulate_dtype, as_target
from .latent import kl_elements
from .reduce import SAMPLE, reduce_elements, reduce_rows


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
    """loss = recon + beta KL and its two parts, the parts detached; without a KL they are empty."""
    param = params[0]
    dtype = accumulate_dtype(param)
    x = [p.to(dtype) for p in params]
    row = BY_CODE[likelihood]
    if row.has_sizes(params):
        x = log_means(x, target.dim() - 1 if starts is None else 1)
    if starts is not None:
        assert columns is not None
        target = _dense(param, target, starts, columns)
    t = as_target(target, dtype, bytes_to_unit=row.bytes_to_unit).expand_as(param)
    mask = weight if weight is not None and weight.dtype == torch.bool else None
    if mask is not None:
        # What is masked is replaced before the formula: its gradient would be 0 times NaN.
        t = torch.where(mask, t, 0.5)
        x = [torch.where(mask, p, 0.5) for p in x]
    elements = row.formula(x, t, constants[1:]) + constants[0]
    if mask is not None:
        elements = torch.where(mask, elements, 0.0)
    elif weight is not None:
        elements = elements * weight.to(dtype)

    nothing = torch.empty(0, dtype=accumulate_dtype(param, kl, mu), device=param.device)
    recon = reduce_elements(elements, reduction, with_samples=param.dim() > target.dim())
    if kl is None and mu is None:
        return recon, nothing, nothing
    if kl is None:
        assert mu is not None and logvar is not None
        kl = reduce_elements(kl_elements(mu, logvar), SAMPLE)
    rows = kl.to(nothing.dtype)
    kl_term = reduce_rows(rows, reduction)
    recon = recon.to(nothing.dtype)
    # Of rows, not of their sum: in forward mode PyTorch makes a number times a 0-d tangent float64.
    scaled = reduce_rows(beta * rows, reduction)
    if beta_tensor is not None:  # which must not promote the loss
        scaled = beta_tensor.to(scaled.dtype) * scaled
    return recon + scaled, recon.detach(), kl_term.detach()


def log_means(params: Sequence[Tensor], event: int) -> list[Tensor]:
    """Parameters of means size * softmax(logits), of logits, others and log sizes: the log-mean,
    softmax over the last `event` dimensions, at least in float32, and the others."""
    logits, *others, log_sizes = params
    dtype = accumulate_dtype(logits)
    rows = logits.flatten(-event) if event > 1 else logits
    shares = torch.log_softmax(rows, -1, dtype=dtype).view(logits.shape)
    return [shares + log_sizes.to(dtype), *others]


def _dense(param: Tensor, values: Tensor, starts: Tensor, columns: Tensor) -> Tensor:
    """A sparse target as a matrix."""
    rows = torch.arange(len(starts) - 1, device=starts.device)
    rows = rows.repeat_interleave(starts.diff(), output_size=len(columns))
    dense = values.new_zeros(len(starts) - 1, param.shape[-1])
    return dense.index_put((rows, columns.long()), values)
