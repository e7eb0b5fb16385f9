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


def negative_binomial(
    params: Sequence[Tensor], target: Tensor, constants: Sequence[float]
) -> Tensor:
    """-log NB(t) of mean and inverse dispersion; with constants (_, 1) of their logarithms.

    With constants (1, _) log Γ(t + 1) is included. In float64, whatever the parameters are: the
    differences of log Γ cancel.
    """
    mu, theta = (p.double() for p in params)
    t = target.double()
    log_mu, log_theta = (mu, theta) if constants[1] else (mu.log(), theta.log())
    theta = theta.exp() if constants[1] else theta
    ratio = log_mu - log_theta
    # softplus at both ends, which F.softplus rounds off
    log_of_mu, log_of_theta = F.logsigmoid(ratio), F.logsigmoid(-ratio)
    gammas = torch.lgamma(theta) - torch.lgamma(t + theta)
    if constants[0]:
        gammas = gammas + torch.lgamma(t + 1)
    # Of a zero nothing, which the last digits of log Γ(1) are not.
    value = torch.where(t == 0, 0.0, gammas - t * log_of_mu) - theta * log_of_theta
    defined = (t > -1) & (t + theta > 0)
    return torch.where(defined, value, torch.nan).to(params[0].dtype)


def _log_sum(a: Tensor, b: Tensor) -> Tensor:
    """log(e^a + e^b); second derivatives of torch.logaddexp are NaN where a and b lie far apart."""
    larger, smaller = torch.where(a > b, a, b), torch.where(a > b, b, a)
    return larger - F.logsigmoid(larger - smaller)


def zero_inflated_negative_binomial(
    params: Sequence[Tensor], target: Tensor, constants: Sequence[float]
) -> Tensor:
    """-log(σ(g) [t = 0] + σ(-g) NB(t)) for the gate's logit g."""
    gate = params[2].double()
    nll = negative_binomial([p.double() for p in params[:2]], target, constants)
    zero = -_log_sum(F.logsigmoid(gate), F.logsigmoid(-gate) - nll)
    value = torch.where(target == 0, zero, nll - F.logsigmoid(-gate))
    return value.to(params[0].dtype)


def negative_binomial_mixture(
    params: Sequence[Tensor], target: Tensor, constants: Sequence[float]
) -> Tensor:
    """-log(σ(g) NB1(t) + σ(-g) NB2(t)) for the logit g; one inverse dispersion if there is one."""
    mu1, theta1, mu2, gate, *theta2 = (p.double() for p in params)
    first = negative_binomial((mu1, theta1), target, constants)
    second = negative_binomial((mu2, *(theta2 or [theta1])), target, constants)
    value = _log_sum(F.logsigmoid(gate) - first, F.logsigmoid(-gate) - second)
    return -value.to(params[0].dtype)
