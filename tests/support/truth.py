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
    """Elements of a loss with what their rounding errors are relative to.

    Attributes:
        values: the elements.
        magnitude: of the terms of a value.
        partials: of the terms of the derivatives, by the inputs' names.
        share: of the elements that a mask keeps.
    """

    values: Tensor
    magnitude: Tensor
    partials: dict[str, Tensor] = field(default_factory=dict)
    share: Tensor | float = 1.0

    def times(self, factor: Tensor | float) -> Terms:
        """Weighted, or masked by a bool tensor."""
        share = self.share
        if isinstance(factor, Tensor) and factor.dtype == torch.bool:
            factor = factor.double()
            share = factor.expand_as(self.values).mean()
        size = abs(factor)
        partials = {name: m * size for name, m in self.partials.items()}
        return Terms(self.values * factor, self.magnitude * size, partials, share)


def target_values(target: Tensor) -> Tensor:
    """Of a target in [0, 1]: uint8 is x / 255, everything else itself."""
    return target.double() / 255 if target.dtype == torch.uint8 else target.double()


def bernoulli(logits: Tensor, target: Tensor, full: bool = True) -> Terms:
    """-t log sigmoid(x) - (1 - t) log sigmoid(-x)."""
    t = target_values(target)
    # The logits formula that never multiplies an infinity by a computed zero where F does not.
    values = F.binary_cross_entropy_with_logits(logits, t.expand_as(logits), reduction="none")
    magnitude = ((1 - t) * logits).abs() - F.logsigmoid(logits)
    return Terms(values, magnitude, {"x": torch.sigmoid(logits) + t.abs()})


def _size(difference: Tensor, target: Tensor) -> Tensor:
    """Of a difference: uint8 targets are rounded when they are divided by 255, nothing else is."""
    t = target_values(target)
    return difference.abs() + (t if target.dtype == torch.uint8 else 0.0)


def gaussian(
    mean: Tensor, target: Tensor, logvar: Tensor | None = None, full: bool = True
) -> Terms:
    """-log Normal(mean, e^(logvar / 2)), in full with log(2 pi) / 2."""
    shift = 0.5 * math.log(2 * math.pi) if full else 0.0
    difference = mean - target_values(target)
    size = _size(difference, target)
    if logvar is None:
        values = 0.5 * difference**2 + shift
        return Terms(values, 0.5 * size**2 + shift, {"x": size})
    precision = torch.exp(-logvar)
    values = 0.5 * (difference**2 * precision + logvar) + shift
    squares = size**2 * precision
    return Terms(
        values,
        0.5 * (squares + logvar.abs()) + shift,
        {"x": size * precision, "second": 0.5 * (1 + squares)},
    )


def laplace(
    loc: Tensor, target: Tensor, logscale: Tensor | None = None, full: bool = True
) -> Terms:
    """-log Laplace(loc, e^logscale), in full with log 2."""
    shift = math.log(2) if full else 0.0
    difference = loc - target_values(target)
    size = _size(difference, target)
    if logscale is None:
        return Terms(difference.abs() + shift, size + shift, {"x": torch.ones_like(size)})
    inverse = torch.exp(-logscale)
    scaled = size * inverse
    return Terms(
        difference.abs() * inverse + logscale + shift,
        scaled + logscale.abs() + shift,
        {"x": inverse.expand_as(size), "second": 1 + scaled},
    )


def poisson(log_rate: Tensor, target: Tensor, full: bool = True) -> Terms:
    """-log Poisson(e^r), in full with log Gamma(t + 1)."""
    t = target.double()
    constant = torch.lgamma(t + 1) if full else torch.zeros_like(t)
    rate = log_rate.exp()
    size = rate + t
    return Terms(
        rate - t * log_rate + constant,
        size + (t * log_rate).abs() + constant.abs(),
        {"x": size},
    )


# By the names of the registry.
LIKELIHOODS = {"bernoulli": bernoulli, "gaussian": gaussian, "laplace": laplace, "poisson": poisson}


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


def reduce(values: Tensor, reduction: str, lead: int = 1, share: Tensor | float = 1.0) -> Tensor:
    """The reductions of [B, ...] (lead 1) or [L, B, ...] (lead 2): L is averaged over.

    `share`: of the elements that a mask keeps.
    """
    if reduction == "none":
        return values
    if reduction == "mean":
        return values.mean() / share
    rows = values.flatten(lead).sum(lead) if values.dim() > lead else values
    if reduction == "draw":
        return rows
    if lead == 2:
        rows = rows.mean(0)
    if reduction == "sample":
        return rows
    return rows.mean() if reduction == "batchmean" else rows.sum()
