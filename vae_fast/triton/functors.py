"""Likelihoods on Triton tensors, as csrc/math/likelihood.h.

Parameters, a tuple, and the target of an element in; its negative log-likelihood (nats) and the
derivatives by the parameters out. The row kernel adds constants.
"""

import triton
import triton.language as tl

from .gamma import log_factorial_below_one
from .math import (
    LOG_2PI,
    expm1_and_minus,
    exponential,
    exponential_of_minus_magnitude,
    factor_of_nonzero,
    log1p_unit_plus,
    stirling_remainder,
    subtract_log,
)


@triton.jit
def bernoulli(p, target):
    """-log Bernoulli(target | sigmoid(logit)), softplus and sigmoid from one exponential."""
    logit = p[0]
    e = exponential_of_minus_magnitude(logit)
    reciprocal = 1.0 / (e + 1.0)
    positive = logit > 0.0
    # (softplus(x) - t x) without the cancellation: the step minus the target is (nearly) exact.
    value = log1p_unit_plus(e, (tl.where(positive, 1.0, 0.0) - target) * logit)
    return value, tl.where(positive, reciprocal, e * reciprocal) - target


@triton.jit
def gaussian_unit(p, target):
    """-log N(target | mean, 1) - constant: half the squared error."""
    difference = p[0] - target
    return 0.5 * difference * difference, difference


@triton.jit
def gaussian(p, target):
    """-log N(target | mean, e^logvar) - constant."""
    difference = p[0] - target
    inverse = exponential(-0.5 * p[1])
    # Of each product, not once of the factor: Triton 3.8 spills that on sm_100.
    scaled = difference * factor_of_nonzero(inverse, difference)
    squares = scaled * scaled
    return (
        0.5 * (squares + p[1]),
        scaled * factor_of_nonzero(inverse, scaled),
        0.5 - 0.5 * squares,
    )


@triton.jit
def laplace_unit(p, target):
    """-log Laplace(target | loc, 1) - constant: the absolute error."""
    difference = p[0] - target
    sign = tl.where(difference > 0.0, 1.0, tl.where(difference < 0.0, -1.0, difference))
    return tl.abs(difference), sign


@triton.jit
def laplace(p, target):
    """-log Laplace(target | loc, e^logscale) - constant."""
    size, sign = laplace_unit(p, target)
    inverse = factor_of_nonzero(exponential(-p[1]), size)
    scaled = size * inverse
    return scaled + p[1], sign * inverse, 1.0 - scaled


@triton.jit
def poisson(p, target):
    """-log Poisson(target | e^log_rate) without log Gamma(target + 1)."""
    rate = exponential(p[0])
    product = target * factor_of_nonzero(p[0], target)
    return rate - product, rate - target


@triton.jit
def poisson_full(p, target):
    """-log Poisson(target | e^log_rate), of a count from the distance to its best rate; NaN for
    targets of -1 and less."""
    log_rate = p[0]
    small = target < 1.0
    y = tl.where(small, 1.0, target)
    distance = tl.where(small, log_rate, subtract_log(log_rate, y))
    power = exponential(distance)
    value, minus = expm1_and_minus(distance)
    slope = tl.where(small, power - target, target * value)
    log_y = -subtract_log(tl.zeros_like(y), y)
    best = 0.5 * (log_y + LOG_2PI) + stirling_remainder(1.0 / y)
    product = target * factor_of_nonzero(log_rate, target)
    below = power - product + log_factorial_below_one(tl.where(small, target, 0.0))
    below = tl.where(target > -1.0, below, float("nan"))
    return tl.where(small, below, best + target * minus), slope
