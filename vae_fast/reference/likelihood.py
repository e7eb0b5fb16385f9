"""Negative log-likelihoods and the ELBO around them in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .dtypes import accumulate_dtype, as_target
from .latent import kl_elements
from .reduce import SAMPLE, reduce_elements, reduce_rows


def bernoulli_elements(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy with logits: (1 - t) x + softplus(-x)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def gaussian_elements(mean: Tensor, logvar: Tensor | None, target: Tensor) -> Tensor:
    """((x - mean)^2 e^-logvar + logvar) / 2, without the constant."""
    squares = (mean - target).square()
    if logvar is None:
        return 0.5 * squares
    return 0.5 * (squares * torch.exp(-logvar) + logvar)


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
    """loss = recon + beta KL and its two parts, the parts detached; without a KL they are empty."""
    dtype = accumulate_dtype(param)
    x = param.to(dtype)
    t = as_target(target, dtype).expand_as(x)
    if likelihood == 0:
        elements = bernoulli_elements(x, t)
    else:
        elements = gaussian_elements(x, None if param_logvar is None else param_logvar.to(dtype), t)
    elements = elements + constant
    if weight is not None:
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
