"""Standard Gumbel noise, the twin of csrc/math/gumbel.h: the same float32 bits as on the CPU.

An element is -log(E) with E = -log(u) exponential and u uniform; both tails keep the 32 bits that
were drawn. As for the normal noise, nothing may be fused.
"""

import triton
import triton.language as tl

from .math import bits_float, float_bits
from .normal import TWO_TO_MINUS_32, TWO_TO_MINUS_33, philox, unfused_log


@triton.jit
def unfused_log_of(u, minus_one):
    """log(u) for a normal u > 0; `minus_one` is u - 1, which may be known better than u is."""
    offset = float_bits(u) - 0x3F3504F3  # mantissa in [sqrt(1/2), sqrt(2))
    n = offset >> 23
    scaled = bits_float((offset & 0x007FFFFF) + 0x3F3504F3) + -1.0
    return unfused_log(n.to(tl.float32), tl.where(n == 0, minus_one, scaled))


@triton.jit
def gumbel(bits):
    """-log(-log(u)) with u = bits * 2^-32 + 2^-33; of u and 1 - u the smaller is exact."""
    upper = (bits >> 31) != 0
    smaller = tl.where(upper, bits ^ 0xFFFFFFFF, bits)
    t = smaller.to(tl.float32) * TWO_TO_MINUS_32 + TWO_TO_MINUS_33
    exponential = -unfused_log_of(tl.where(upper, 1.0 - t, t), -t)
    return -unfused_log_of(exponential, exponential + -1.0)


@triton.jit
def gumbel_groups(seed, group):
    """The noise of whole groups: [A, B, G] groups to [A, B, 4 G] elements, without a shuffle."""
    x, y, z, w = philox(seed, group, 1)
    lanes = tl.join(tl.join(gumbel(x), gumbel(z)), tl.join(gumbel(y), gumbel(w)))
    return lanes.reshape([group.shape[0], group.shape[1], 4 * group.shape[2]])


@triton.jit
def gumbel_elements(seed, element):
    """The noise of any elements, each drawing its whole group and keeping its lane."""
    x, y, z, w = philox(seed, element >> 2, 1)
    second = (element & 2) != 0
    even, odd = tl.where(second, z, x), tl.where(second, w, y)
    return gumbel(tl.where((element & 1) != 0, odd, even))
