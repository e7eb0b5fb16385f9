"""The formulas of the likelihoods: elements of the negative log-likelihood in nats.

Each takes the parameters, broadcastable to the first one, a target of its shape, and what of the
constants is the likelihood's own (`vae_fast.likelihoods`); none adds a constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def times_exp(factor: Tensor, exponent: Tensor) -> Tensor:
    """factor · e^exponent, and its gradients, 0 where 0 meets an infinite exponential."""
    largest = math.log(torch.finfo(exponent.dtype).max)
    lost = (factor == 0) & (exponent > largest)
    return factor * torch.exp(torch.where(lost, 0.0, exponent))


def bernoulli(params: Sequence[Tensor], target: Tensor, constants: Sequence[float]) -> Tensor:
    """(1 - t) x + softplus(-x) for the logit x."""
    return F.binary_cross_entropy_with_logits(params[0], target, reduction="none")


def gaussian(params: Sequence[Tensor], target: Tensor, constants: Sequence[float]) -> Tensor:
    """((t - mean)^2 e^-logvar + logvar) / 2; logvar 0 if absent."""
    difference = params[0] - target
    if len(params) == 1:
        return 0.5 * difference.square()
    logvar = params[1]
    return 0.5 * (times_exp(difference, -0.5 * logvar).square() + logvar)


def laplace(params: Sequence[Tensor], target: Tensor, constants: Sequence[float]) -> Tensor:
    """|t - loc| e^-logscale + logscale; logscale 0 if absent."""
    size = (params[0] - target).abs()
    if len(params) == 1:
        return size
    logscale = params[1]
    return times_exp(size, -logscale) + logscale


def poisson(params: Sequence[Tensor], target: Tensor, constants: Sequence[float]) -> Tensor:
    """e^r - t r for the log-rate r, and with constants (1,) log Γ(t + 1); NaN for t <= -1 then."""
    rate = params[0]
    value = rate.exp() - target * torch.where(target == 0, 0.0, rate)
    if not constants[0]:
        return value
    return value + torch.where(target > -1, torch.lgamma(target + 1), torch.nan)
