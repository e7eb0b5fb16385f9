"""The scalar formulas of csrc/math on Triton tensors: exp, log1p, log Gamma, KL.

Polynomials of our own, because Triton's interpreter has no libdevice. Every fused multiply-add is
written as one, and kernels are compiled with fusion off: what is not written is not fused. In
float64, which serves gradient checks, exp and log are Triton's.
"""

import triton
import triton.language as tl


def _float(text: str) -> tl.constexpr:
    return tl.constexpr(float.fromhex(text))


LN2_HIGH = _float("-0x1.62e4p-1")  # its products with exponents are exact
LN2_LOW = _float("-0x1.7f7d1cp-20")

EXP_2 = _float("0x1.fffffcp-2")
EXP_3 = _float("0x1.555492p-3")
EXP_4 = _float("0x1.5558f2p-5")
EXP_5 = _float("0x1.1239d4p-7")
EXP_6 = _float("0x1.6a244cp-10")

LOG1P_1 = _float("0x1.fffffep-1")
LOG1P_2 = _float("-0x1.fffeacp-2")
LOG1P_3 = _float("0x1.553004p-2")
LOG1P_4 = _float("-0x1.fcc8c6p-3")
LOG1P_5 = _float("0x1.874a7ep-3")
LOG1P_6 = _float("-0x1.17d2bep-3")
LOG1P_7 = _float("0x1.4069d2p-4")
LOG1P_8 = _float("-0x1.e369dcp-6")
LOG1P_9 = _float("0x1.56edf8p-8")

EXPM1_3 = _float("0x1.555556p-3")
EXPM1_4 = _float("0x1.55555cp-5")
EXPM1_5 = _float("0x1.111108p-7")
EXPM1_6 = _float("0x1.6c0f74p-10")
EXPM1_7 = _float("0x1.a01ea8p-13")
EXPM1_8 = _float("0x1.a55064p-16")
EXPM1_9 = _float("0x1.731f64p-19")

MINUS_LOG1P_2 = _float("0x1.000000p-1")
MINUS_LOG1P_3 = _float("-0x1.555552p-2")
MINUS_LOG1P_4 = _float("0x1.00017ap-2")
MINUS_LOG1P_5 = _float("-0x1.99a0bap-3")
MINUS_LOG1P_6 = _float("0x1.549ef2p-3")
MINUS_LOG1P_7 = _float("-0x1.22e378p-3")
MINUS_LOG1P_8 = _float("0x1.0bf028p-3")
MINUS_LOG1P_9 = _float("-0x1.048d1ep-3")
MINUS_LOG1P_10 = _float("0x1.3ef1a6p-4")

STIRLING_1 = _float("0x1.555554p-4")
STIRLING_2 = _float("-0x1.422542p-24")
STIRLING_3 = _float("-0x1.6b846ep-9")
STIRLING_4 = _float("-0x1.a62dcep-15")
STIRLING_5 = _float("0x1.11ca48p-10")
STIRLING_6 = _float("-0x1.4a09fep-11")
STIRLING_7 = _float("0x1.1f6018p-13")
LOG_2PI = tl.constexpr(1.8378770664093453)

BYTE_HIGH = _float("0x1.0101p-8")
BYTE_LOW = _float("0x1.0101p-32")


@triton.jit
def float_bits(x):
    return x.to(tl.int32, bitcast=True)


@triton.jit
def bits_float(bits):
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def byte_to_unit(x):
    """x / 255 for x = 0, 1, ..., 255, correctly rounded: both products are exact in float32."""
    if x.dtype == tl.float64:
        return x / 255.0
    else:
        return tl.fma(x, BYTE_LOW, x * BYTE_HIGH)


@triton.jit
def factor_of_nonzero(factor, a):
    """A factor of a, made zero where a is: a mean that equals its target costs nothing."""
    return tl.where(a == 0.0, 0.0, factor)


@triton.jit
def expm1_reduced(r):
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    square = r * r
    low = tl.fma(r, EXP_3, EXP_2)
    middle = tl.fma(r, EXP_5, EXP_4)
    q = tl.fma(square, tl.fma(square, EXP_6, middle), low)
    return tl.fma(square, q, r)


@triton.jit
def subtract_ln2(x, n):
    """x - n ln 2, with ln 2 in two parts."""
    return tl.fma(n, LN2_LOW, tl.fma(n, LN2_HIGH, x))


@triton.jit
def exponential(x):
    """exp over all floats, with gradual underflow; NaN to NaN."""
    if x.dtype == tl.float64:
        return tl.exp(x)
    else:
        x = tl.where(x < -104.0, -104.0, x)
        x = tl.where(x > 89.0, 89.0, x)
        # Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
        shifted = tl.fma(x, 1.44269502, 12582912.0)
        p = expm1_reduced(subtract_ln2(x, shifted - 12582912.0)) + 1.0
        # 2^n in two factors, so that neither leaves the range of normal floats.
        n = float_bits(shifted) - 0x4B400000
        half = n >> 1
        return p * bits_float((half + 127) << 23) * bits_float((n - half + 127) << 23)


@triton.jit
def exponential_of_minus_magnitude(x):
    """exp(-|x|), the hot one: 0 below 2^-126.5, so that 2^n is one shift."""
    magnitude = tl.abs(x)
    if x.dtype == tl.float64:
        return tl.exp(-magnitude)
    else:
        # With the exponent's bias in the magic number, the low bits are n + 127.
        shifted = tl.fma(magnitude, -1.44269502, 12583039.0)
        m = expm1_reduced(subtract_ln2(-magnitude, shifted - 12583039.0))
        scale = bits_float(float_bits(shifted) << 23)
        return tl.where(magnitude > 87.5, 0.0, tl.fma(scale, m, scale))


@triton.jit
def log1p_unit_plus(x, addend):
    """log(1 + x) + addend for x in [0, 1]."""
    if x.dtype == tl.float64:
        u = x + 1.0
        # What the sum u lost of x, the quotient puts back (Goldberg 1991, theorem 4).
        exact = u == 1.0
        return tl.where(exact, x, tl.log(u) * (x / tl.where(exact, 1.0, u - 1.0))) + addend
    else:
        x2 = x * x
        c01 = tl.fma(x, LOG1P_2, LOG1P_1)
        c23 = tl.fma(x, LOG1P_4, LOG1P_3)
        c45 = tl.fma(x, LOG1P_6, LOG1P_5)
        c67 = tl.fma(x, LOG1P_8, LOG1P_7)
        low = tl.fma(x2, c23, c01)
        middle = tl.fma(x2, c67, c45)
        x4 = x2 * x2
        high = tl.fma(x4, LOG1P_9, middle)
        return tl.fma(x, tl.fma(x4, high, low), addend)


@triton.jit
def expm1_and_minus(x):
    """(exp(x) - 1, exp(x) - 1 - x); near 0 from a series, because both differences cancel."""
    if x.dtype == tl.float64:
        near = tl.abs(x) < 0.5
        r = tl.where(near, x, 0.0)
        s = tl.full(x.shape, 1.0, tl.float64)
        for k in tl.static_range(13):  # 0.5^14 / 16! of 1/2 is below half an epsilon
            s = 1.0 + r * s / (15 - k)
        series = 0.5 * r * r * s
    else:
        near = (x > -0.75) & (x < 0.75)
        s = tl.fma(x, EXPM1_9, EXPM1_8)
        s = tl.fma(s, x, EXPM1_7)
        s = tl.fma(s, x, EXPM1_6)
        s = tl.fma(s, x, EXPM1_5)
        s = tl.fma(s, x, EXPM1_4)
        s = tl.fma(s, x, EXPM1_3)
        s = tl.fma(s, x, 0.5)
        series = x * x * s
    direct = exponential(x) - 1.0
    return tl.where(near, series + x, direct), tl.where(near, series, direct - x)


@triton.jit
def kl_standard(mu, logvar):
    """KL(N(mu, e^logvar) || N(0, 1)) and its derivative by logvar; that by mu is mu."""
    value, minus = expm1_and_minus(logvar)
    return 0.5 * (mu * mu + minus), 0.5 * value


@triton.jit
def kl_general(mu, logvar, prior_mu, prior_logvar):
    """KL(N(mu, e^logvar) || N(prior_mu, e^prior_logvar)) and its four partial derivatives."""
    difference = mu - prior_mu
    inverse = factor_of_nonzero(exponential(-0.5 * prior_logvar), difference)
    scaled = difference * inverse
    mahalanobis = scaled * scaled
    value, minus = expm1_and_minus(logvar - prior_logvar)
    dmu = scaled * inverse
    return (
        0.5 * (mahalanobis + minus),
        dmu,
        0.5 * value,
        -dmu,
        -0.5 * (mahalanobis + value),
    )


@triton.jit
def minus_log1p_reduced(f):
    """f - log(1 + f) for |f| <= 0.415."""
    f2 = f * f
    c01 = tl.fma(f, MINUS_LOG1P_3, MINUS_LOG1P_2)
    c23 = tl.fma(f, MINUS_LOG1P_5, MINUS_LOG1P_4)
    c45 = tl.fma(f, MINUS_LOG1P_7, MINUS_LOG1P_6)
    c67 = tl.fma(f, MINUS_LOG1P_9, MINUS_LOG1P_8)
    f4 = f2 * f2
    low = tl.fma(f2, c23, c01)
    high = tl.fma(f4, MINUS_LOG1P_10, tl.fma(f2, c67, c45))
    return f2 * tl.fma(f4, high, low)


@triton.jit
def exponent(q):
    """(n, 2^-n) with q = 2^n (1 + f) and 1 + f in [sqrt(1/2), sqrt(2))."""
    n = (float_bits(q) - 0x3F3504F3) >> 23
    # The same as -(the bits with their mantissa cleared), without a constant beyond int32.
    return n.to(tl.float32), bits_float(0x3F800000 - (n << 23))


@triton.jit
def subtract_log(x, q):
    """x - log(q) for positive q, the larger parts of both subtracted from each other first."""
    if q.dtype == tl.float64:
        return x - tl.log(q)
    else:
        n, scale = exponent(q)
        f = tl.fma(scale, q, -1.0)
        return subtract_ln2(x, n) - (f - minus_log1p_reduced(f))


@triton.jit
def stirling_remainder(r):
    """log Gamma(y) - (y - 1/2) log y + y - log(2 pi) / 2 for y = 1 / r >= 1."""
    if r.dtype == tl.float64:
        y = 1.0 / r
        shift = y * 0.0
        for _ in tl.static_range(16):  # Gamma(y + 1) = y Gamma(y) up to 16
            shift += (y + 0.5) * log1p_unit_plus(1.0 / y, 0.0) - 1.0
            y += 1.0
        q = 1.0 / (y * y)
        s = 1.0 / 1188 - q * (691.0 / 360360)
        s = 1.0 / 1260 - q * (1.0 / 1680 - q * s)
        return shift + (1.0 / 12 - q * (1.0 / 360 - q * s)) / y
    else:
        r2 = r * r
        c01 = tl.fma(r, STIRLING_2, STIRLING_1)
        c23 = tl.fma(r, STIRLING_4, STIRLING_3)
        c45 = tl.fma(r, STIRLING_6, STIRLING_5)
        high = tl.fma(r2, STIRLING_7, c45)
        return r * tl.fma(r2, tl.fma(r2, high, c23), c01)
