"""Standard normal noise, the twin of csrc/math/normal.h: the same float32 bits as on the CPU.

Element i is lane i & 3 of group i >> 2; the group number is the counter of Philox4x32-10, the seed
its key. The Box-Muller transform is made of multiply, add and square root only. No product here may
be fused with a sum: kernels that call it are compiled with `enable_fp_fusion=False`.
"""

import triton
import triton.language as tl

from .math import _float, bits_float, float_bits

LOG_2 = _float("0x1.555554p-2")
LOG_3 = _float("-0x1.000226p-2")
LOG_4 = _float("0x1.99a008p-3")
LOG_5 = _float("-0x1.547244p-3")
LOG_6 = _float("0x1.22da1cp-3")
LOG_7 = _float("-0x1.0d8540p-3")
LOG_8 = _float("0x1.055b6cp-3")
LOG_9 = _float("-0x1.38b590p-4")
LN2_HIGH = _float("0x1.62e4p-1")
LN2_LOW = _float("0x1.7f7d1cp-20")

SIN_3 = _float("-0x1.555546p-3")
SIN_5 = _float("0x1.110760p-7")
SIN_7 = _float("-0x1.994eb4p-13")
COS_4 = _float("0x1.55554ap-5")
COS_6 = _float("-0x1.6c0c8cp-10")
COS_8 = _float("0x1.9a025ap-16")
ANGLE = _float("0x1.921fb6p-30")  # 2 pi / 2^32
TWO_TO_MINUS_32 = _float("0x1p-32")
TWO_TO_MINUS_33 = _float("0x1p-33")


@triton.jit
def philox(seed, group, STREAM: tl.constexpr = 0):
    """The four words of a group; seed and group are 64-bit integers."""
    low = (group & 0xFFFFFFFF).to(tl.uint32)
    high = (group >> 32).to(tl.uint32)
    zero = low * 0
    return tl.philox(seed, low, high, zero + STREAM, zero)


@triton.jit
def unfused_log(n, f):
    """n ln 2 + log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1)."""
    p = f * LOG_9 + LOG_8
    p = p * f + LOG_7
    p = p * f + LOG_6
    p = p * f + LOG_5
    p = p * f + LOG_4
    p = p * f + LOG_3
    p = p * f + LOG_2
    square = f * f
    log_mantissa = square * f * p
    log_mantissa = square * -0.5 + log_mantissa
    log_mantissa = log_mantissa + f
    log_mantissa = n * LN2_LOW + log_mantissa
    return n * LN2_HIGH + log_mantissa


@triton.jit
def box_muller_radius(bits):
    """sqrt(-2 log u) with u = bits * 2^-32 + 2^-33 in (0, 1]."""
    u = bits.to(tl.float32) * TWO_TO_MINUS_32 + TWO_TO_MINUS_33
    offset = float_bits(u) - 0x3F3504F3  # mantissa in [sqrt(1/2), sqrt(2))
    f = bits_float((offset & 0x007FFFFF) + 0x3F3504F3) + -1.0
    return tl.sqrt_rn(unfused_log((offset >> 23).to(tl.float32), f) * -2.0)


@triton.jit
def box_muller(radius_bits, angle_bits):
    """(r cos, r sin) of the angle 2 pi bits / 2^32, reduced to an eighth of the circle."""
    radius = box_muller_radius(radius_bits)
    quadrant = (angle_bits + (1 << 29)) >> 30
    rest = (angle_bits - (quadrant << 30)).to(tl.int32, bitcast=True)
    x = rest.to(tl.float32) * ANGLE
    square = x * x
    s = square * SIN_7 + SIN_5
    s = s * square + SIN_3
    s = s * square * x + x
    c = square * COS_8 + COS_6
    c = c * square + COS_4
    c = c * square * square + (square * -0.5 + 1.0)
    odd = (quadrant & 1) != 0
    cosine = tl.where(odd, s, c)
    sine = tl.where(odd, c, s)
    cosine = tl.where(((quadrant + 1) & 2) != 0, -cosine, cosine)
    sine = tl.where((quadrant & 2) != 0, -sine, sine)
    return radius * cosine, radius * sine


@triton.jit
def normal_groups(seed, group):
    """The normals of whole groups: [..., G] groups to [..., 4 G] elements, without a shuffle."""
    x, y, z, w = philox(seed, group)
    n0, n1 = box_muller(x, y)
    n2, n3 = box_muller(z, w)
    lanes = tl.join(tl.join(n0, n2), tl.join(n1, n3))
    return lanes.reshape([group.shape[0], 4 * group.shape[1]])


@triton.jit
def normal_elements(seed, element):
    """The normals of any elements, each drawing its whole group and keeping its lane."""
    x, y, z, w = philox(seed, element >> 2)
    second = (element & 2) != 0
    cosine, sine = box_muller(tl.where(second, z, x), tl.where(second, w, y))
    return tl.where((element & 1) != 0, sine, cosine)
