"""Every formula in float64, in plain PyTorch and apart from the package's own reference.

Next to a value stand the magnitudes of its terms and of the terms of its partial derivatives: where
terms cancel, rounding errors are relative to these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
        textbook: the same with the terms of the formula here, whose rounding errors in float64 are
            those of the truth itself; None where kernels add the same terms.
    """

    values: Tensor
    magnitude: Tensor
    partials: dict[str, Tensor] = field(default_factory=dict)
    share: Tensor | float = 1.0
    textbook: Terms | None = None

    def times(self, factor: Tensor | float) -> Terms:
        """Weighted, or masked by a bool tensor."""
        share = self.share
        textbook = self.textbook and self.textbook.times(factor)
        if isinstance(factor, Tensor) and factor.dtype == torch.bool:
            factor = factor.double()
            share = factor.expand_as(self.values).mean()
        size = abs(factor)
        partials = {name: m * size for name, m in self.partials.items()}
        return Terms(self.values * factor, self.magnitude * size, partials, share, textbook)


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


@dataclass(frozen=True)
class _Counts:
    """Elements of a negative binomial, and the sizes of its terms and of its derivatives'."""

    nll: Tensor
    magnitude: Tensor
    by_mu: Tensor
    by_theta: Tensor


def _binomial(
    mu: Tensor, theta: Tensor, target: Tensor, full: bool, log_input: bool, textbook: bool
) -> _Counts:
    t = target.double()
    m, th = (mu.exp(), theta.exp()) if log_input else (mu, theta)
    of_mu, of_theta = torch.log(m / (th + m)), -torch.log1p(m / th)
    gammas = (torch.lgamma(th), -torch.lgamma(t + th), torch.lgamma(t + 1))
    nll = sum(gammas) - th * of_theta - t * of_mu
    constant = torch.zeros_like(t) if full else gammas[2]
    # Digits of a logarithm's argument are lost to its result as such, whatever its size.
    magnitude = nll + (t > 0) + constant
    by_mu = (t + th) / (th + m) + t / m
    digammas = torch.digamma(t + th), torch.digamma(th)
    slope = torch.log1p(m / th) - m / (th + m) + t / (th + m)
    by_theta = 2 * (digammas[0] - digammas[1] + slope)  # squares have twice the rounding
    if textbook:
        magnitude = sum(g.abs() for g in gammas) - th * of_theta - t * of_mu
        by_theta = digammas[0].abs() + digammas[1].abs() - of_theta + by_mu
    if log_input:
        # The ratio of two exponentials has the rounding of the difference of their exponents.
        rounded = 1 + mu.abs() + theta.abs()
        magnitude, by_mu, by_theta = (s * rounded for s in (magnitude, by_mu * m, by_theta * th))
    return _Counts(nll - constant, magnitude, by_mu, by_theta)


def negative_binomial(
    mu: Tensor,
    target: Tensor,
    theta: Tensor,
    full: bool = True,
    log_input: bool = False,
    textbook: bool = False,
) -> Terms:
    """-log NB(mu, theta), or of their logarithms, in full with log Gamma(t + 1)."""
    e = _binomial(mu, theta, target, full, log_input, textbook)
    return Terms(e.nll, e.magnitude, {"x": e.by_mu, "second": e.by_theta})


def zero_inflated_negative_binomial(
    mu: Tensor,
    target: Tensor,
    theta: Tensor,
    gate: Tensor,
    full: bool = True,
    log_input: bool = False,
    textbook: bool = False,
) -> Terms:
    """-log of NB with the probability sigmoid(gate) of an extra zero."""
    e = _binomial(mu, theta, target, full, log_input, textbook)
    zero = target == 0
    no_extra = -F.logsigmoid(-gate)
    mixed = -torch.logaddexp(F.logsigmoid(gate), F.logsigmoid(-gate) - e.nll)
    values = torch.where(zero, mixed, e.nll + no_extra)
    posterior = torch.where(zero, torch.exp(mixed - no_extra - e.nll), 1.0)
    # The exponential of the zero's value has the rounding of that value.
    spread = 1 + torch.where(zero, e.magnitude + gate.abs(), 0.0)
    by_gate = torch.where(zero, 1 - posterior - torch.sigmoid(gate), torch.sigmoid(gate)).abs()
    size = torch.where(zero, values * spread, e.magnitude + no_extra)
    if textbook:
        by_gate = by_gate + torch.sigmoid(gate)
        size = e.magnitude + gate.abs() + no_extra + 1
    return Terms(
        values,
        size,
        {
            "x": posterior * e.by_mu * spread,
            "second": posterior * e.by_theta * spread,
            "third": by_gate * spread,
        },
    )


def negative_binomial_mixture(
    mu1: Tensor,
    target: Tensor,
    theta1: Tensor,
    mu2: Tensor,
    gate: Tensor,
    theta2: Tensor | None = None,
    full: bool = True,
    log_input: bool = False,
    textbook: bool = False,
) -> Terms:
    """-log of two NB, of which the first has the probability sigmoid(gate)."""
    options = (target, full, log_input, textbook)
    one = _binomial(mu1, theta1, *options)
    two = _binomial(mu2, theta1 if theta2 is None else theta2, *options)
    first, second = F.logsigmoid(gate) - one.nll, F.logsigmoid(-gate) - two.nll
    values = -torch.logaddexp(first, second)
    least = 1e-29  # of an exponential, below which a product with it is no float any more
    posterior, other = torch.exp(first + values) + least, torch.exp(second + values) + least
    # The exponential of the components' difference has the rounding of their values.
    spread = 1 + one.magnitude + two.magnitude + gate.abs()
    by_theta1, by_theta2 = posterior * one.by_theta * spread, other * two.by_theta * spread
    partials = {
        "x": posterior * one.by_mu * spread,
        "second": by_theta1 + by_theta2 if theta2 is None else by_theta1,
        "third": other * two.by_mu * spread,
        "fourth": (posterior - torch.sigmoid(gate)).abs() * spread + posterior * other * spread,
    }
    if theta2 is not None:
        partials["fifth"] = by_theta2
    return Terms(values, spread, partials)


def _with_textbook(formula: Callable[..., Terms]) -> Callable[..., Terms]:
    """Of a formula that cancels, which kernels do not."""

    def both(*args: Tensor, **options: bool) -> Terms:
        return replace(formula(*args, **options), textbook=formula(*args, **options, textbook=True))

    return both


# By the names of the registry.
LIKELIHOODS = {
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "laplace": laplace,
    "poisson": poisson,
    "negative_binomial": _with_textbook(negative_binomial),
    "zero_inflated_negative_binomial": _with_textbook(zero_inflated_negative_binomial),
    "negative_binomial_mixture": _with_textbook(negative_binomial_mixture),
}


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
