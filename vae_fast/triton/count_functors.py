"""Negative binomials of counts on Triton tensors, as csrc/math/negative_binomial.h and mixture.h.

With both formulas, of zeros and of other targets, and a selection: neighbouring elements share
their instructions.
"""

import triton
import triton.language as tl

from .gamma import (
    log1p_and_minus,
    log1p_less,
    log_factorial_below_one,
    log_positive,
    stirling_difference,
    stirling_of,
)
from .math import (
    bits_float,
    expm1_reduced,
    exponential,
    exponential_of_minus_magnitude,
    factor_of_nonzero,
    float_bits,
    log1p_unit_plus,
    stirling_remainder,
    subtract_ln2,
)


@triton.jit
def clamp(x, LOW: tl.constexpr, HIGH: tl.constexpr):
    x = tl.where(x < LOW, LOW, x)
    return tl.where(x > HIGH, HIGH, x)


@triton.jit
def mean_of(mu, theta, LOGS: tl.constexpr):
    """(theta, 1 / theta, mu / theta, beyond the ratio's logarithm above and below, of -log theta).

    Of logarithms both are kept within what is a float whatever is made of it.
    """
    if LOGS:
        kept = clamp(theta, -69.0, 44.0)
        log_ratio = mu - kept
        return (
            exponential(kept),
            exponential(-kept),
            exponential(clamp(log_ratio, -80.0, 69.0)),
            tl.where(log_ratio > 69.0, log_ratio - 69.0, 0.0),
            tl.where(log_ratio < -80.0, -80.0 - log_ratio, 0.0),
            tl.where(theta < -69.0, -69.0 - theta, 0.0),
        )
    else:
        inverse = 1.0 / theta
        nothing = tl.zeros_like(mu * theta)
        return theta, inverse, mu * inverse, nothing, nothing, nothing


@triton.jit
def binomial_zero(m, LOGS: tl.constexpr):
    """Value at 0, and its derivatives by mu and theta, or by their logarithms."""
    theta, _, ratio, above, _, _ = m
    of_theta = 1.0 / (ratio + 1.0)
    of_mu = ratio * of_theta
    value, less = log1p_less(ratio, of_mu)
    slope = less + above
    if LOGS:
        return theta * (value + above), theta * of_mu, theta * slope
    else:
        return theta * (value + above), of_theta, slope


@triton.jit
def saturated(m, x):
    """(value, slope) of what x and theta alone decide."""
    theta, inverse, _, _, _, tiny = m
    both = x + theta
    small = x < 1.0
    y = tl.where(small, 1.0, x)
    remainder, slope = stirling_of(theta, inverse)
    remainder_both, slope_both = stirling_of(both, 1.0 / both)
    slope = tl.fma(0.5 * x * inverse, 1.0 / both, slope - slope_both)
    remainders = remainder - remainder_both + tiny
    log_best = log_positive(6.283185307179586 * y * (both * inverse))
    value = 0.5 * log_best + (stirling_remainder(1.0 / y) + remainders)
    log_ratio, minus = log1p_and_minus(x * inverse, both * inverse)
    inside = (x > -1.0) & small
    below = log_factorial_below_one(tl.where(inside, x, 0.0))
    difference = stirling_difference(theta, both, x) + tiny
    below = below + theta * minus + 0.5 * log_ratio + difference
    defined = (x > -1.0) & (both > 0.0)
    below = tl.where(defined, below, float("nan"))
    return tl.where(small, below, tl.where(x >= 1.0, value, x)), slope


@triton.jit
def binomial_count(mu, m, x, slope, LOGS: tl.constexpr):
    """What mu adds to the value of a target that is not zero, and the derivatives."""
    theta, inverse, ratio, above, below, _ = m
    both = x + theta
    of_theta = 1.0 / (ratio + 1.0)
    if LOGS:
        inverse_s = of_theta * inverse
        of_mu = ratio * of_theta
        u = tl.fma(x * inverse, of_theta, -of_mu)
    else:
        inverse_s = 1.0 / (theta + mu)
        of_mu = mu * inverse_s
        u = (x - mu) * inverse_s
    theta_u = theta * u
    inverse_x = 1.0 / x
    _, near = log1p_and_minus(u, both * inverse_s)
    near += above
    _, far = log1p_and_minus(-theta_u * inverse_x, both * inverse_x * of_mu)
    far += below
    zero, zero_less = log1p_less(ratio, of_mu)
    fraction = theta * (zero + above) + x * (below - log_positive(of_mu * both))
    value = tl.where(x < 1.0, fraction, tl.fma(theta, near, x * far))
    # For x = 1 both differences are nearly the same where mu is small, whatever theta is.
    one = zero_less + above - of_mu * inverse
    by_theta = tl.where(x == 1.0, one, near - slope)
    if LOGS:
        return value, -theta_u, theta * by_theta
    else:
        return tl.where(mu == 0.0, float("inf"), value), -theta_u / mu, by_theta


@triton.jit
def binomial(mu, theta, target, LOGS: tl.constexpr):
    """Value and derivatives of any target, and where it is zero."""
    m = mean_of(mu, theta, LOGS)
    zero = target == 0.0
    x = tl.where(zero, 1.0, target)
    value, slope = saturated(m, x)
    count, count_mean, count_theta = binomial_count(mu, m, x, slope, LOGS)
    none, none_mean, none_theta = binomial_zero(m, LOGS)
    return (
        tl.where(zero, none, value + count),
        tl.where(zero, none_mean, count_mean),
        tl.where(zero, none_theta, count_theta),
        zero,
    )


@triton.jit
def mixed(a, gate):
    """-log(sigmoid(g) + sigmoid(-g) e^-a) for a >= 0.

    Also both posteriors, that of the component that a belongs to first, and the derivative by g.
    """
    least = tl.where(-gate < a, -gate, a)
    if a.dtype == tl.float64:
        excess = tl.where(least > 600.0, least - 600.0, 0.0)
        kept = a - excess
        left = tl.exp(-kept)
        # (1 - e^-a) / a by its series where it cancels
        near = tl.where(kept < 0.5, -kept, 0.0)
        s = tl.full(a.shape, 1.0, tl.float64)
        for k in tl.static_range(16):
            s = 1.0 + near * s / (17 - k)
        rest = tl.where(kept < 0.5, -near * s, 1.0 - left)
    else:
        excess = tl.where(least > 80.0, least - 80.0, 0.0)
        kept = a - excess
        # e^-a and 1 - e^-a from one reduction
        shifted = tl.fma(kept, -1.44269502, 12583039.0)
        m = expm1_reduced(subtract_ln2(-kept, shifted - 12583039.0))
        scale = bits_float(float_bits(shifted) << 23)
        gone = kept > 87.5
        left = tl.where(gone, 0.0, tl.fma(scale, m, scale))
        rest = tl.where(gone, 1.0, tl.fma(-scale, m, 1.0 - scale))
    e = exponential_of_minus_magnitude(gate + excess)
    positive = gate > 0.0
    weight = tl.where(positive, e, 1.0)
    other = tl.where(positive, 1.0, e)
    both = e + 1.0
    total = tl.fma(weight, left, other)
    inverse = 1.0 / (total * both)
    scaled = weight * (inverse * both)
    r = rest * scaled
    value, _ = log1p_less(r, r / (r + 1.0))
    return value + excess, left * scaled, other * (inverse * both), -r * other * (inverse * total)


@triton.jit
def inflated(p, target, LOGS: tl.constexpr):
    """A negative binomial with extra zeros."""
    nll, by_mean, by_theta, zero = binomial(p[0], p[1], target, LOGS)
    value, posterior, _, by_gate = mixed(tl.where(zero, nll, 0.0), p[2])
    gate = p[2]
    e = exponential_of_minus_magnitude(gate)
    positive = gate > 0.0
    softplus = log1p_unit_plus(e, tl.where(positive, gate, 0.0))
    posterior = tl.where(zero, posterior, 1.0)
    return (
        tl.where(zero, value, nll + softplus),
        posterior * by_mean,
        posterior * by_theta,
        tl.where(zero, by_gate, tl.where(positive, 1.0, e) / (e + 1.0)),
    )


@triton.jit
def mixture(mu1, theta1, mu2, theta2, gate, target, LOGS: tl.constexpr):
    """Value and derivatives, in the order of the arguments."""
    first, mean1, slope1, _ = binomial(mu1, theta1, target, LOGS)
    second, mean2, slope2, _ = binomial(mu2, theta2, target, LOGS)
    difference = second - first
    swap = difference < 0.0
    a = tl.where(swap, -difference, difference)
    value, of_a, of_other, by_gate = mixed(a, tl.where(swap, -gate, gate))
    one = tl.where(swap, of_a, of_other)
    two = tl.where(swap, of_other, of_a)
    # Where a component is impossible, its slope is infinite and its posterior zero.
    return (
        value + tl.where(swap, second, first),
        one * factor_of_nonzero(mean1, one),
        one * factor_of_nonzero(slope1, one),
        two * factor_of_nonzero(mean2, two),
        two * factor_of_nonzero(slope2, two),
        tl.where(swap, -by_gate, by_gate),
    )


@triton.jit
def negative_binomial(p, target):
    value, by_mean, by_theta, _ = binomial(p[0], p[1], target, False)
    return value, by_mean, by_theta


@triton.jit
def negative_binomial_of_logs(p, target):
    value, by_mean, by_theta, _ = binomial(p[0], p[1], target, True)
    return value, by_mean, by_theta


@triton.jit
def zero_inflated(p, target):
    return inflated(p, target, False)


@triton.jit
def zero_inflated_of_logs(p, target):
    return inflated(p, target, True)


@triton.jit
def negative_binomial_mixture(p, target):
    value, d1, s1, d2, s2, g = mixture(p[0], p[1], p[2], p[4], p[3], target, False)
    return value, d1, s1, d2, g, s2


@triton.jit
def negative_binomial_mixture_of_logs(p, target):
    value, d1, s1, d2, s2, g = mixture(p[0], p[1], p[2], p[4], p[3], target, True)
    return value, d1, s1, d2, g, s2


@triton.jit
def mixture_of_one_theta(p, target):
    value, d1, s1, d2, s2, g = mixture(p[0], p[1], p[2], p[1], p[3], target, False)
    return value, d1, s1 + s2, d2, g


@triton.jit
def mixture_of_one_theta_of_logs(p, target):
    value, d1, s1, d2, s2, g = mixture(p[0], p[1], p[2], p[1], p[3], target, True)
    return value, d1, s1 + s2, d2, g
