"""Logarithms whose differences would cancel, and functions of Gamma, as csrc/math/logarithm.h and
stirling.h."""

import triton
import triton.language as tl

from .math import (
    LOG_2PI,
    STIRLING_1,
    STIRLING_2,
    STIRLING_3,
    STIRLING_4,
    STIRLING_5,
    STIRLING_6,
    STIRLING_7,
    _float,
    exponent,
    log1p_unit_plus,
    minus_log1p_reduced,
    stirling_remainder,
    subtract_ln2,
    subtract_log,
)

SLOPE_2 = _float("0x1.555558p-4")
SLOPE_3 = _float("-0x1.b0d85cp-20")
SLOPE_4 = _float("-0x1.0fbcbcp-7")
SLOPE_5 = _float("-0x1.9afd3ep-12")
SLOPE_6 = _float("0x1.7ed8f6p-8")
SLOPE_7 = _float("-0x1.3a62acp-8")
SLOPE_8 = _float("0x1.d3584ep-10")
SLOPE_9 = _float("-0x1.0f579cp-12")

FACTORIAL_0 = _float("0x1.2788d0p-1")
FACTORIAL_1 = _float("-0x1.f64520p-3")
FACTORIAL_2 = _float("0x1.3e31ccp-3")
FACTORIAL_3 = _float("-0x1.d4a6f4p-4")
FACTORIAL_4 = _float("0x1.68bb98p-4")
FACTORIAL_5 = _float("-0x1.031ef8p-4")
FACTORIAL_6 = _float("0x1.2a098ep-5")
FACTORIAL_7 = _float("-0x1.c348d8p-7")
FACTORIAL_8 = _float("0x1.410b1cp-9")

INFINITY = tl.constexpr(float("inf"))


@triton.jit
def log_positive(q):
    """log(q) for positive normal q."""
    return -subtract_log(tl.zeros_like(q), q)


@triton.jit
def series(t, START: tl.constexpr):
    """1/2 - t/3 + t^2/4 ..., or, from 1, 1/2 - 2 t/3 + 3 t^2/4 ...: 16 terms, for |t| < 0.05."""
    s = tl.zeros_like(t)
    for k in tl.static_range(16):
        s = START + (1.0 - 2.0 * START) / (17 - k) - t * s
    return s


@triton.jit
def log1p_less(t, v):
    """log(1 + t) for t >= 0, and less v = t / (1 + t), which it nearly equals near 0."""
    if t.dtype == tl.float64:
        value = log1p_unit_plus(t, tl.zeros_like(t))
        near = tl.where(t < 0.05, t, 0.0)
        return value, tl.where(t < 0.05, t * t * series(near, 1.0), value - v)
    else:
        n, scale = exponent(1.0 + t)
        f = tl.fma(scale, t, scale - 1.0)
        rest = minus_log1p_reduced(f)
        value = subtract_ln2(f - rest, -n)
        # t - v = t v; else the constants first, which cancel.
        far = tl.fma(scale, t, subtract_ln2(scale - 1.0, -n) - v)
        return tl.where(t < INFINITY, value, t), tl.where(n == 0.0, t * v, far) - rest


@triton.jit
def log1p_and_minus(t, q):
    """log(1 + t) and t - log(1 + t) with q = 1 + t > 0, each given as it is known best."""
    if t.dtype == tl.float64:
        middle = (t > -0.5) & (t < 1.0)
        inside = log1p_unit_plus(tl.where(middle, t, 0.0), tl.zeros_like(t))
        value = tl.where(middle, inside, tl.log(q))
        near = tl.abs(t) < 0.05
        return value, tl.where(near, t * t * series(tl.where(near, t, 0.0), 0.0), t - value)
    else:
        n, scale = exponent(q)
        less = scale - 1.0
        low = n < -1.0
        f = tl.fma(scale, tl.where(low, q, t), tl.where(low, -1.0, less))
        rest = minus_log1p_reduced(f)
        start = subtract_ln2(tl.where(low, t - f, -less), n)
        difference = tl.fma(tl.where(low, 0.0, -less), t, start)
        finite = q < INFINITY
        value = tl.where(finite, subtract_ln2(f - rest, -n), q)
        return value, tl.where(finite, difference + rest, q)


@triton.jit
def stirling_slope(r):
    """-d remainder / dy of `stirling_remainder`, for y = 1 / r >= 1."""
    if r.dtype == tl.float64:
        y = 1.0 / r
        shift = y * 0.0
        for _ in tl.static_range(16):
            shift += 0.5 / y + 0.5 / (y + 1.0) - log1p_unit_plus(1.0 / y, tl.zeros_like(y))
            y += 1.0
        q = 1.0 / (y * y)
        s = 1.0 / 240 - q * (1.0 / 132 - q * (691.0 / 32760))
        return shift + q * (1.0 / 12 - q * (1.0 / 120 - q * (1.0 / 252 - q * s)))
    else:
        r2 = r * r
        c01 = tl.fma(r, SLOPE_3, SLOPE_2)
        c23 = tl.fma(r, SLOPE_5, SLOPE_4)
        c45 = tl.fma(r, SLOPE_7, SLOPE_6)
        c67 = tl.fma(r, SLOPE_9, SLOPE_8)
        return r2 * tl.fma(r2 * r2, tl.fma(r2, c67, c45), tl.fma(r2, c23, c01))


@triton.jit
def stirling_of(y, reciprocal_y):
    """Remainder and slope for any y > 0: below 1 by one step of the recurrence."""
    if y.dtype == tl.float64:
        return stirling_remainder(reciprocal_y), stirling_slope(reciprocal_y)
    else:
        small = y < 1.0
        above = y + 1.0
        r = tl.where(small, 1.0 / above, reciprocal_y)
        log_ratio = log_positive(above * reciprocal_y)
        remainder_step = tl.fma(y + 0.5, log_ratio, -1.0)
        slope_step = tl.fma(reciprocal_y + r, 0.5, -log_ratio)
        return (
            stirling_remainder(r) + tl.where(small, remainder_step, 0.0),
            stirling_slope(r) + tl.where(small, slope_step, 0.0),
        )


@triton.jit
def stirling_difference(y, both, x):
    """Remainder of y less that of both = y + x > 0, exact relative to x, however small x is."""
    if y.dtype == tl.float64:
        return stirling_remainder(1.0 / y) - stirling_remainder(1.0 / both)
    else:
        small = tl.minimum(y, both) < 1.0
        ratio = (y + 1.0) / y * (both / (both + 1.0))
        log_steps, _ = log1p_and_minus(x / (y * (both + 1.0)), ratio)
        step = tl.fma(y + 0.5, log_steps, -x * log_positive((both + 1.0) / both))
        lift = tl.where(small, 1.0, 0.0)
        r, s = 1.0 / (y + lift), 1.0 / (both + lift)
        # The divided difference of the polynomial, as its own value goes on.
        value = tl.fma(r, STIRLING_7, STIRLING_6)
        difference = tl.fma(s, STIRLING_7, value)
        value = tl.fma(r, value, STIRLING_5)
        difference = tl.fma(s, difference, value)
        value = tl.fma(r, value, STIRLING_4)
        difference = tl.fma(s, difference, value)
        value = tl.fma(r, value, STIRLING_3)
        difference = tl.fma(s, difference, value)
        value = tl.fma(r, value, STIRLING_2)
        difference = tl.fma(s, difference, value)
        value = tl.fma(r, value, STIRLING_1)
        difference = tl.fma(s, difference, value)
        return tl.fma(x * r * s, difference, tl.where(small, step, 0.0))


@triton.jit
def log_factorial_below_one(x):
    """log Gamma(x + 1) for -1 < x < 1; below 0 by a step of the recurrence."""
    if x.dtype == tl.float64:
        y = x + 2.0
        log_y = tl.log(y)
        gamma = (y - 0.5) * log_y - y + 0.5 * LOG_2PI + stirling_remainder(1.0 / y)
        return tl.where(x == 0.0, 0.0, gamma - tl.log(x + 1.0))
    else:
        negative = x < 0.0
        z = tl.where(negative, x + 1.0, x)
        z2 = z * z
        c01 = tl.fma(z, FACTORIAL_1, FACTORIAL_0)
        c23 = tl.fma(z, FACTORIAL_3, FACTORIAL_2)
        c45 = tl.fma(z, FACTORIAL_5, FACTORIAL_4)
        c67 = tl.fma(z, FACTORIAL_7, FACTORIAL_6)
        z4 = z2 * z2
        high = tl.fma(z4, FACTORIAL_8, tl.fma(z2, c67, c45))
        polynomial = tl.fma(z4, high, tl.fma(z2, c23, c01))
        above_zero = z * tl.where(negative, x, x - 1.0) * polynomial
        log_z, _ = log1p_and_minus(x, z)
        return tl.where(negative, above_zero - log_z, above_zero)


@triton.jit
def log_factorial(x):
    """log Gamma(x + 1); NaN for -1 and less."""
    small = x < 1.0
    y = tl.where(small, 1.0, x)
    log_y = log_positive(y)
    above = y * log_y - y + (0.5 * (log_y + LOG_2PI) + stirling_remainder(1.0 / y))
    below = log_factorial_below_one(tl.where(small, x, 0.0))
    return tl.where(small, tl.where(x > -1.0, below, float("nan")), above)
