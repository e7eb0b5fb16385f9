"""Every formula in float64, in plain PyTorch and apart from the package's own reference.

Next to a value stand the magnitudes of its terms and of the terms of its partial derivatives: where
terms cancel, rounding errors are relative to these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """Elements of a loss with what their rounding errors are relative to."""

    values: Tensor
    magnitude: Tensor
    partials: dict[str, Tensor] = field(default_factory=dict)

    def times(self, factor: Tensor | float) -> Terms:
        size = factor.abs() if isinstance(factor, Tensor) else abs(factor)
        partials = {name: m * size for name, m in self.partials.items()}
        return Terms(self.values * factor, self.magnitude * size, partials)


def target_values(target: Tensor) -> Tensor:
    """uint8 is x / 255, everything else itself."""
    return target.double() / 255 if target.dtype == torch.uint8 else target.double()


def bernoulli(logits: Tensor, target: Tensor) -> Terms:
    """-t log sigmoid(x) - (1 - t) log sigmoid(-x)."""
    t = target_values(target)
    # The logits formula that never multiplies an infinity by a computed zero where F does not.
    values = F.binary_cross_entropy_with_logits(logits, t.expand_as(logits), reduction="none")
    magnitude = ((1 - t) * logits).abs() - F.logsigmoid(logits)
    return Terms(values, magnitude, {"params": torch.sigmoid(logits) + t.abs()})


def gaussian(mean: Tensor, target: Tensor, logvar: Tensor | None, constant: bool) -> Terms:
    """-log Normal(mean, e^(logvar / 2)), with or without log(2 pi) / 2."""
    t = target_values(target)
    shift = 0.5 * math.log(2 * math.pi) if constant else 0.0
    difference = mean - t
    # uint8 targets are rounded when they are divided by 255, every other input is exact.
    size = difference.abs() + (t if target.dtype == torch.uint8 else 0.0)
    if logvar is None:
        values = 0.5 * difference**2 + shift
        return Terms(values, 0.5 * size**2 + shift, {"params": size})
    precision = torch.exp(-logvar)
    values = 0.5 * (difference**2 * precision + logvar) + shift
    squares = size**2 * precision
    return Terms(
        values,
        0.5 * (squares + logvar.abs()) + shift,
        {"params": size * precision, "params_logvar": 0.5 * (1 + squares)},
    )


def kl(
    mu: Tensor, logvar: Tensor, prior_mu: Tensor | None = None, prior_logvar: Tensor | None = None
) -> Terms:
    """KL of two diagonal Gaussians, (r - 1 - log r + (mu - prior_mu)^2 / var) / 2 per element."""
    difference = mu if prior_mu is None else mu - prior_mu
    d = logvar if prior_logvar is None else logvar - prior_logvar
    precision = 1.0 if prior_logvar is None else torch.exp(-prior_logvar)
    squares = difference**2 * precision
    spread = torch.expm1(d) - d
    # Textbook terms: e^d - 1 - d and its derivative e^d - 1 cancel near 0 in plain PyTorch; what
    # the kernels do better there has tests of its own. d itself may be rounded.
    size = d.abs() + torch.expm1(d).abs() + d.exp() * d.abs()
    slope = 1 + d.exp() + d.exp() * d.abs()
    return Terms(
        0.5 * (squares + spread),
        0.5 * (squares + size),
        {
            "mu": difference.abs() * precision,
            "logvar": 0.5 * slope,
            "prior_mu": difference.abs() * precision,
            "prior_logvar": 0.5 * (squares + slope),
        },
    )


def sample(mu: Tensor, logvar: Tensor, eps: Tensor) -> Terms:
    """mu + e^(logvar / 2) eps for noise of shape [..., *mu.shape]."""
    noise = torch.exp(0.5 * logvar) * eps
    partials = {"mu": torch.ones_like(noise), "logvar": 0.5 * noise.abs()}
    return Terms(mu + noise, mu.abs() + noise.abs(), partials)


def reduce(values: Tensor, reduction: str, lead: int = 1) -> Tensor:
    """The reductions of [B, ...] (lead 1) or [L, B, ...] (lead 2): L is averaged over."""
    if reduction == "none":
        return values
    if reduction == "mean":
        return values.mean()
    rows = values.flatten(lead).sum(lead) if values.dim() > lead else values
    if lead == 2:
        rows = rows.mean(0)
    if reduction == "sample":
        return rows
    return rows.mean() if reduction == "batchmean" else rows.sum()
