"""Normal and Gumbel noise as pure functions of a seed, bit for bit those of the compiled kernels.

Philox4x32-10 (Salmon et al. 2011) and a Box-Muller transform made of multiply, add and square root.
Element ``i`` is lane ``i & 3`` of group ``i >> 2``; the group number is the counter, the seed the
key. The compiled twin is ``csrc/math/normal.h``; a change here is a change there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)

_LOG = [
    float.fromhex(c)
    for c in (
        "-0x1.38b590p-4",
        "0x1.055b6cp-3",
        "-0x1.0d8540p-3",
        "0x1.22da1cp-3",
        "-0x1.547244p-3",
        "0x1.99a008p-3",
        "-0x1.000226p-2",
        "0x1.555554p-2",
    )
]
_SIN = [float.fromhex(c) for c in ("-0x1.994eb4p-13", "0x1.110760p-7", "-0x1.555546p-3")]
_COS = [float.fromhex(c) for c in ("0x1.9a025ap-16", "-0x1.6c0c8cp-10", "0x1.55554ap-5")]
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cp-20")
_SQRT_HALF = float.fromhex("0x1.6a09e6p-1")
_PI_2_31 = float.fromhex("0x1.921fb6p-30")


def philox4x32_10(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds of Philox on words held in int64 tensors of any broadcastable shapes."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0 = c0 * _MULTIPLIERS[0]  # the low 64 bits are right whatever the sign
        product1 = c2 * _MULTIPLIERS[1]
        c0 = ((product1 >> 32) & _MASK) ^ c1 ^ k0
        c2 = ((product0 >> 32) & _MASK) ^ c3 ^ k1
        c1, c3 = product1 & _MASK, product0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def _horner(coefficients: Sequence[float], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        value = value * x + c
    return value


def _log(n: Tensor, f: Tensor) -> Tensor:
    """n ln 2 + log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1)."""
    square = f * f
    log_mantissa = square * f * _horner(_LOG, f)
    log_mantissa = square * -0.5 + log_mantissa
    log_mantissa = log_mantissa + f
    log_mantissa = n * _LN2_LOW + log_mantissa
    return n * _LN2_HIGH + log_mantissa


def _split(u: Tensor) -> tuple[Tensor, Tensor]:
    """n and f of u = 2^n (1 + f)."""
    mantissa, exponent = torch.frexp(u)
    low = mantissa < _SQRT_HALF
    f = torch.where(low, mantissa * 2.0, mantissa) + (-1.0)
    return (exponent - low.to(exponent.dtype)).to(torch.float32), f


def _radius(bits: Tensor) -> Tensor:
    n, f = _split(bits.to(torch.float32) * 2.0**-32 + 2.0**-33)
    # In double, because the vector library behind torch.sqrt does not round float32 correctly.
    return (_log(n, f) * -2.0).double().sqrt().float()


def _box_muller(radius_bits: Tensor, angle_bits: Tensor) -> tuple[Tensor, Tensor]:
    radius = _radius(radius_bits)
    quadrant = (angle_bits + 2**29) >> 30  # 0 to 4: the reduction to an eighth is in integers
    x = (angle_bits - (quadrant << 30)).to(torch.float32) * _PI_2_31
    square = x * x
    s = _horner(_SIN, square) * square * x + x
    c = _horner(_COS, square) * square * square + (square * -0.5 + 1.0)
    odd = (quadrant & 1) == 1
    cosine, sine = torch.where(odd, s, c), torch.where(odd, c, s)
    cosine = torch.where(((quadrant + 1) & 2) == 2, -cosine, cosine)
    sine = torch.where((quadrant & 2) == 2, -sine, sine)
    return radius * cosine, radius * sine


def _words(seed: Tensor, count: int, first: int, stream: int) -> tuple[Tensor, ...]:
    """Four words of 32 bits for each group of the elements from the first one on."""
    group = torch.arange((count + 3) // 4, device=seed.device) + first // 4
    key = seed.reshape(())
    zero = torch.zeros_like(group)
    return philox4x32_10(
        (group & _MASK, (group >> 32) & _MASK, zero + stream, zero),
        (key & _MASK, (key >> 32) & _MASK),
    )


def _elements(lanes: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    return torch.stack(list(lanes), -1).reshape(-1)[: math.prod(size)].reshape(list(size))


def normal(seed: Tensor, size: Sequence[int], first: int = 0) -> Tensor:
    """Noise of the elements ``first, first + 1, ...`` in a float32 tensor of the given size.

    Args:
        seed: int64 tensor with one element, the 64-bit key.
        size: shape of the result.
        first: number of the first element, a multiple of four.
    """
    words = _words(seed, math.prod(size), first, 0)
    lanes = (*_box_muller(words[0], words[1]), *_box_muller(words[2], words[3]))
    return _elements(lanes, size)


def _log_of(u: Tensor, minus_one: Tensor) -> Tensor:
    """log(u); `minus_one` is u - 1, which may be known better than u is."""
    n, f = _split(u)
    return _log(n, torch.where(n == 0, minus_one, f))


def gumbel_of(bits: Tensor) -> Tensor:
    """-log(-log(u)) with u = bits * 2^-32 + 2^-33; of u and 1 - u the smaller is exact."""
    upper = bits >= 2**31
    smaller = torch.where(upper, bits ^ _MASK, bits)
    t = smaller.to(torch.float32) * 2.0**-32 + 2.0**-33
    exponential = -_log_of(torch.where(upper, 1.0 - t, t), -t)
    return -_log_of(exponential, exponential + (-1.0))


def gumbel(seed: Tensor, size: Sequence[int], first: int = 0) -> Tensor:
    """Standard Gumbel noise of the elements ``first, first + 1, ...``; see `normal`.

    Its compiled twin is ``csrc/math/gumbel.h``.
    """
    words = _words(seed, math.prod(size), first, 1)
    return _elements([gumbel_of(word) for word in words], size)
