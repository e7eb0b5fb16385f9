"""Sampling and Gaussian KL in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from .dtypes import accumulate_dtype
from .elements import times_exp
from .noise import normal
from .reduce import SAMPLE, reduce_elements


def kl_elements(
    mu: Tensor, logvar: Tensor, prior_mu: Tensor | None = None, prior_logvar: Tensor | None = None
) -> Tensor:
    """KL(N(mu, e^logvar) || N(prior_mu, e^prior_logvar)) per element, in the accumulate dtype."""
    dtype = accumulate_dtype(mu)
    difference, ratio = mu.to(dtype), logvar.to(dtype)
    if prior_mu is not None:
        difference = difference - prior_mu.to(dtype)
    if prior_logvar is not None:
        prior_logvar = prior_logvar.to(dtype)  # once: two casts would round two gradients
        difference = times_exp(difference, -0.5 * prior_logvar)
        ratio = ratio - prior_logvar
    return 0.5 * (difference.square() + (torch.expm1(ratio) - ratio))


def reparameterize_kl(
    mu: Tensor,
    logvar: Tensor,
    seed: Tensor | None,
    eps: Tensor | None,
    num_samples: int | None,
    with_kl: bool,
) -> tuple[Tensor, Tensor]:
    """z = mu + exp(logvar / 2) eps and, on demand, KL(q || N(0, I)) per sample."""
    dtype = accumulate_dtype(mu)
    shape = mu.shape if num_samples is None else (num_samples, *mu.shape)
    if eps is None:
        assert seed is not None
        eps = normal(seed, shape)
    out_dtype = mu.dtype
    mu, logvar = mu.to(dtype), logvar.to(dtype)  # once: two casts would round two gradients
    z = mu + torch.exp(0.5 * logvar) * eps.to(dtype)
    if with_kl:
        kl = reduce_elements(kl_elements(mu, logvar), SAMPLE)
    else:
        kl = torch.empty(0, dtype=dtype, device=mu.device)
    return z.to(out_dtype), kl


def gaussian_kl(
    mu: Tensor,
    logvar: Tensor,
    prior_mu: Tensor | None,
    prior_logvar: Tensor | None,
    reduction: int,
) -> Tensor:
    """KL divergence of diagonal Gaussians, reduced."""
    return reduce_elements(kl_elements(mu, logvar, prior_mu, prior_logvar), reduction)
