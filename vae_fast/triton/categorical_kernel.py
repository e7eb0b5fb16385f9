"""Kernels of the categorical latent: Gumbel-softmax samples with their KL, and their gradient.

The forward reads the logits once, writes the sample and keeps no noise; the backward draws the same
noise again from the seed. A program takes a tile of samples, of their variables, and all categories
of each: [S, V, K], of which the last dimension is filled up to a power of two.
"""

import triton
import triton.language as tl

from .gumbel import gumbel_elements, gumbel_groups, unfused_log_of
from .math import expm1_and_minus, exponential
from .tiles import ROWS, load_scalar, rounded, store_sums


@triton.jit
def logarithm(u, minus_one):
    """log(u) for a normal u or NaN; `minus_one` is u - 1, which may be known better than u is."""
    if u.dtype == tl.float64:
        # What the sum 1 + x lost of x, the quotient puts back (Goldberg 1991, theorem 4).
        exact = u == 1.0
        return tl.where(exact, minus_one, tl.log(u) * (minus_one / tl.where(exact, 1.0, u - 1.0)))
    else:
        return tl.where(u == u, unfused_log_of(u, minus_one), u)


@triton.jit
def bounded(d):
    """d, but finite: an impossible category (-inf) adds nothing to a sum of exp(d) d."""
    return tl.where(d < -200.0, -200.0, d)


@triton.jit
def places(
    unit, chunks, batch, variables, categories, S: tl.constexpr, V: tl.constexpr, K: tl.constexpr
):
    """Samples [S, 1, 1], element numbers [S, V, K], and which are there."""
    block = unit // chunks
    chunk = unit - block * chunks
    sample = block * S + tl.arange(0, S)[:, None, None]
    variable = chunk * V + tl.arange(0, V)[None, :, None]
    category = tl.arange(0, K)[None, None, :]
    first = (sample * variables + variable) * categories
    inside = (sample < batch) & (variable < variables) & (category < categories)
    return sample, first, category, inside


@triton.jit
def perturbed(logits, seed, first, category, inside, scale, GROUPED: tl.constexpr):
    """(logit + noise) scale; -inf where there is no category."""
    key = tl.load(seed)
    if GROUPED:
        group = (first >> 2) + tl.arange(0, category.shape[2] // 4)[None, None, :]
        noise = gumbel_groups(key, group)
    else:
        noise = gumbel_elements(key, first + category)
    return tl.where(inside, (logits + noise.to(logits.dtype)) * scale, float("-inf"))


@triton.jit
def inverse(tau, tau_tensor, dtype: tl.constexpr):
    """1 / tau."""
    tau = tl.full((), tau, tl.float64)
    if tau_tensor is not None:
        tau = load_scalar(tau_tensor, tl.float64)
    if dtype == tl.float64:
        return 1.0 / tau
    else:
        return tl.div_rn(1.0, tau.to(tl.float32))


@triton.jit
def kl_to_uniform(logits, inside, categories, dtype: tl.constexpr):
    """KL of each variable, [S, V]; see csrc/math/categorical.h."""
    largest = tl.max(tl.where(inside, logits, float("-inf")), 2)
    count = categories.to(dtype)
    mean = tl.sum(tl.where(inside, logits, 0.0), 2) / count
    near = largest - mean <= 4.0
    d = logits - tl.where(near, mean, largest)[:, :, None]
    e = exponential(d)
    value, minus = expm1_and_minus(d)
    weight = tl.sum(tl.where(inside, e, 0.0), 2)
    moment = tl.sum(tl.where(inside, e * bounded(d), 0.0), 2)
    excess = tl.sum(tl.where(inside, minus, 0.0), 2) / count
    slope = tl.sum(tl.where(inside, value * d, 0.0), 2) / count
    first = tl.where(near, slope / (excess + 1.0), moment / weight)
    mean_weight = weight / count
    second = logarithm(
        tl.where(near, excess + 1.0, mean_weight), tl.where(near, excess, mean_weight - 1.0)
    )
    return first - second


@triton.jit(do_not_specialize=["tau", "batch", "variables", "categories", "chunks"])
def sample_kernel(
    # Operands; tau_tensor may be None.
    logits, seed, tau_tensor,
    # Results.
    y, kl,
    # Partial sums, and how many programs have stored theirs.
    partials, counter,
    tau: tl.float64,
    batch: tl.int64, variables: tl.int64, categories: tl.int64, chunks: tl.int64,
    HARD: tl.constexpr, ALIGNED: tl.constexpr, GROUPED: tl.constexpr, SPLIT: tl.constexpr,
    S: tl.constexpr, V: tl.constexpr, K: tl.constexpr,
    SUM_ROWS: tl.constexpr, SUM_COLS: tl.constexpr,
):  # fmt: skip
    """y = softmax((logits + noise) / tau), or its largest as a one-hot, and the KL by sample."""
    dtype: tl.constexpr = tl.float64 if logits.dtype.element_ty == tl.float64 else tl.float32
    # Dividing and multiplying by ALIGNED says to the compiler what the launcher knows.
    categories = categories // ALIGNED * ALIGNED
    unit = tl.program_id(0).to(tl.int64)
    sample, first, category, inside = places(unit, chunks, batch, variables, categories, S, V, K)
    value = tl.load(logits + first + category, mask=inside, other=0.0).to(dtype)
    divergence = kl_to_uniform(value, inside, categories, dtype)
    scale = inverse(tau, tau_tensor, dtype)
    x = perturbed(value, seed, first, category, inside, scale, GROUPED)
    largest = tl.max(x, 2)[:, :, None]
    e = tl.where(inside, exponential(x - largest), 0.0)
    total = tl.sum(e, 2)[:, :, None]
    if HARD:
        # The first of the largest; a softmax that is NaN makes all NaN.
        chosen = tl.min(tl.where(x == largest, category, K), 2)[:, :, None]
        result = tl.where(category == chosen, 1.0, 0.0) * (total / total)
    else:
        result = e / total
    tl.store(y + first + category, rounded(result, y.dtype.element_ty), mask=inside)
    chunk = unit - unit // chunks * chunks
    variable = chunk * V + tl.arange(0, V)[None, :]
    row = tl.reshape(sample, [S, 1])
    counted = tl.where((variable < variables) & (row < batch), divergence, 0.0)
    store_sums(
        kl, partials, counter, counted, row, batch, unit, chunk, chunks, 1,
        ROWS, SPLIT, SUM_ROWS, SUM_COLS,
    )  # fmt: skip


@triton.jit(
    do_not_specialize=["tau", "batch", "variables", "categories", "chunks", "grad_kl_stride"]
)
def backward_kernel(
    # Operands; grad_y, grad_kl and tau_tensor may be None.
    grad_y, grad_kl, logits, seed, tau_tensor,
    # Result.
    grad_logits,
    tau: tl.float64,
    batch: tl.int64, variables: tl.int64, categories: tl.int64, chunks: tl.int64,
    grad_kl_stride: tl.int64,
    ALIGNED: tl.constexpr, GROUPED: tl.constexpr,
    S: tl.constexpr, V: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """The gradient of the logits from those of the soft y and of the KL."""
    dtype: tl.constexpr = tl.float64 if logits.dtype.element_ty == tl.float64 else tl.float32
    # Dividing and multiplying by ALIGNED says to the compiler what the launcher knows.
    categories = categories // ALIGNED * ALIGNED
    unit = tl.program_id(0).to(tl.int64)
    sample, first, category, inside = places(unit, chunks, batch, variables, categories, S, V, K)
    value = tl.load(logits + first + category, mask=inside, other=0.0).to(dtype)
    grad = tl.zeros([S, V, K], dtype)
    if grad_y is not None:
        scale = inverse(tau, tau_tensor, dtype)
        x = perturbed(value, seed, first, category, inside, scale, GROUPED)
        e = tl.where(inside, exponential(x - tl.max(x, 2)[:, :, None]), 0.0)
        y = e / tl.sum(e, 2)[:, :, None]
        g = tl.load(grad_y + first + category, mask=inside, other=0.0).to(dtype)
        grad += scale * y * (g - tl.sum(g * y, 2)[:, :, None])
    if grad_kl is not None:
        place = grad_kl + sample * grad_kl_stride
        g = tl.load(place, mask=sample < batch, other=0.0).to(dtype)
        d = bounded(value - tl.max(tl.where(inside, value, float("-inf")), 2)[:, :, None])
        e = tl.where(inside, exponential(d), 0.0)
        q = e / tl.sum(e, 2)[:, :, None]
        grad += g * q * (d - tl.sum(q * d, 2)[:, :, None])
    result = rounded(grad, grad_logits.dtype.element_ty)
    tl.store(grad_logits + first + category, result, mask=inside)
