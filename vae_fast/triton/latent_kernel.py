"""Kernels of the latent layer: sampling with KL and its backward, and the KL of two Gaussians.

Sampling reads mu and logvar once, writes z and keeps no noise; the backward draws the same noise
again from the seed. The KL to N(0, 1) is summed in the same pass. A program takes one tile.
"""

import triton
import triton.language as tl

from .math import exponential, kl_general, kl_standard
from .normal import normal_elements, normal_groups
from .tiles import (
    ROWS,
    TOTAL,
    load_scalar,
    load_tile,
    reciprocal,
    row_numbers,
    store_sums,
    store_tile,
)

# Bits of ALONG: operands whose columns differ.
MU, LOGVAR, PRIOR_MU, PRIOR_LOGVAR, GRAD = (tl.constexpr(1 << bit) for bit in range(5))


@triton.jit
def kl_tile(
    operands, strides, results, cols, tile, scale,
    ALONG: tl.constexpr, FULL: tl.constexpr, dtype: tl.constexpr,
):  # fmt: skip
    """Elements of the KL, to N(0, 1) where there is no prior; stores what is wanted of each."""
    mu, logvar, prior_mu, prior_logvar, grad = operands
    mu_stride, logvar_stride, prior_mu_stride, prior_logvar_stride, grad_stride = strides
    values, grad_mu, grad_logvar, grad_prior_mu, grad_prior_logvar = results
    m = load_tile(mu, mu_stride, tile, (MU & ALONG) != 0, FULL, dtype)
    v = load_tile(logvar, logvar_stride, tile, (LOGVAR & ALONG) != 0, FULL, dtype)
    factor = scale
    if grad is not None:
        factor = scale * load_tile(grad, grad_stride, tile, (GRAD & ALONG) != 0, FULL, dtype)
    if prior_mu is None and prior_logvar is None:
        value, dlogvar = kl_standard(m, v)
        dmu = m
    else:
        prior_m = tl.zeros_like(m)
        if prior_mu is not None:
            prior_m = load_tile(
                prior_mu, prior_mu_stride, tile, (PRIOR_MU & ALONG) != 0, FULL, dtype
            )
        prior_v = tl.zeros_like(v)
        if prior_logvar is not None:
            prior_v = load_tile(
                prior_logvar, prior_logvar_stride, tile, (PRIOR_LOGVAR & ALONG) != 0, FULL, dtype
            )
        value, dmu, dlogvar, dprior_mu, dprior_logvar = kl_general(m, v, prior_m, prior_v)
        if grad_prior_mu is not None:
            store_tile(grad_prior_mu, factor * dprior_mu, cols, tile, FULL)
        if grad_prior_logvar is not None:
            store_tile(grad_prior_logvar, factor * dprior_logvar, cols, tile, FULL)
    if values is not None:
        store_tile(values, value, cols, tile, FULL)
    if grad_mu is not None:
        store_tile(grad_mu, factor * dmu, cols, tile, FULL)
    if grad_logvar is not None:
        store_tile(grad_logvar, factor * dlogvar, cols, tile, FULL)
    return value if FULL else tl.where(tile[3], value, 0.0)


@triton.jit(
    do_not_specialize=[
        "rows", "cols", "chunks", "count", "mu_stride", "logvar_stride", "prior_mu_stride",
        "prior_logvar_stride", "grad_stride",
    ]
)  # fmt: skip
def gaussian_kl_kernel(
    # Operands; None where absent.
    mu, logvar, prior_mu, prior_logvar, grad,
    # Results; None where not wanted.
    out, values, grad_mu, grad_logvar, grad_prior_mu, grad_prior_logvar,
    # Partial sums, and how many programs have stored theirs.
    partials, counter,
    rows: tl.int64, cols: tl.int64, chunks: tl.int64, count: tl.int64,
    mu_stride: tl.int64, logvar_stride: tl.int64, prior_mu_stride: tl.int64,
    prior_logvar_stride: tl.int64, grad_stride: tl.int64,
    REDUCTION: tl.constexpr, ALONG: tl.constexpr, ALIGNED: tl.constexpr,
    SOME_FULL: tl.constexpr, ONE_ROW: tl.constexpr, SPLIT: tl.constexpr, TILE_ROWS: tl.constexpr,
    TILE_COLS: tl.constexpr, SUM_ROWS: tl.constexpr, SUM_COLS: tl.constexpr,
):  # fmt: skip
    """KL of diagonal Gaussians [rows, cols], its sums, or its gradients."""
    dtype: tl.constexpr = tl.float64 if mu.dtype.element_ty == tl.float64 else tl.float32
    scale = reciprocal(count, dtype)
    if REDUCTION == TOTAL and grad is not None:
        scale *= load_scalar(grad, dtype)
    # Dividing and multiplying by ALIGNED says to the compiler what the launcher knows.
    cols = cols // ALIGNED * ALIGNED
    operands = (mu, logvar, prior_mu, prior_logvar, grad if REDUCTION != TOTAL else None)
    strides = (
        mu_stride // ALIGNED * ALIGNED,
        logvar_stride // ALIGNED * ALIGNED,
        prior_mu_stride // ALIGNED * ALIGNED,
        prior_logvar_stride // ALIGNED * ALIGNED,
        grad_stride // ALIGNED * ALIGNED,
    )
    results = (values, grad_mu, grad_logvar, grad_prior_mu, grad_prior_logvar)
    unit = tl.program_id(0).to(tl.int64)
    block = unit // chunks
    chunk = unit - block * chunks
    row = row_numbers(block, TILE_ROWS, ONE_ROW)
    begin = chunk * TILE_COLS
    col = begin + tl.arange(0, TILE_COLS)[None, :]
    tile = (row, col, row < rows, (row < rows) & (col < cols))
    full = (block * TILE_ROWS + TILE_ROWS <= rows) & (begin + TILE_COLS <= cols)
    if full & SOME_FULL:
        value = kl_tile(operands, strides, results, cols, tile, scale, ALONG, True, dtype)
    else:
        value = kl_tile(operands, strides, results, cols, tile, scale, ALONG, False, dtype)
    if out is not None:
        store_sums(
            out, partials, counter, value, row, rows, unit, chunk, chunks, count,
            REDUCTION, SPLIT, SUM_ROWS, SUM_COLS,
        )  # fmt: skip


@triton.jit
def noise_tile(seed, eps, begin, cols, tile, GROUPED: tl.constexpr, dtype: tl.constexpr):
    """Noise of a tile of z from column `begin` on: given, in groups of four, or one by one."""
    if eps is not None:
        return load_tile(eps, cols, tile, True, False, dtype)
    else:
        row, col, _row_inside, _inside = tile
        key = tl.load(seed)
        if GROUPED:
            group = ((row * cols + begin) >> 2) + tl.arange(0, col.shape[1] // 4)[None, :]
            return normal_groups(key, group).to(dtype)
        else:
            return normal_elements(key, row * cols + col).to(dtype)


@triton.jit(do_not_specialize=["rows", "batch", "cols", "chunks", "mu_stride", "logvar_stride"])
def sample_kernel(
    # Operands; seed or eps is None.
    mu, logvar, seed, eps,
    # Results; kl is None where not wanted.
    z, kl,
    # Partial sums, and how many programs have stored theirs.
    partials, counter,
    rows: tl.int64, batch: tl.int64, cols: tl.int64, chunks: tl.int64,
    mu_stride: tl.int64, logvar_stride: tl.int64,
    ALONG: tl.constexpr, ALIGNED: tl.constexpr, GROUPED: tl.constexpr, SPLIT: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLS: tl.constexpr,
    SUM_ROWS: tl.constexpr, SUM_COLS: tl.constexpr,
):  # fmt: skip
    """z = mu + exp(logvar / 2) noise for [rows, cols] draws, row r from the mean r % batch, and
    the KL to N(0, 1) of each mean."""
    dtype: tl.constexpr = tl.float64 if mu.dtype.element_ty == tl.float64 else tl.float32
    # Dividing and multiplying by ALIGNED says to the compiler what the launcher knows.
    cols = cols // ALIGNED * ALIGNED
    mu_stride = mu_stride // ALIGNED * ALIGNED
    logvar_stride = logvar_stride // ALIGNED * ALIGNED
    unit = tl.program_id(0).to(tl.int64)
    block = unit // chunks
    chunk = unit - block * chunks
    row = block * TILE_ROWS + tl.arange(0, TILE_ROWS)[:, None]
    begin = chunk * TILE_COLS
    col = begin + tl.arange(0, TILE_COLS)[None, :]
    inside = (row < rows) & (col < cols)
    tile = (row, col, row < rows, inside)
    source = (row % batch, col, row < rows, inside)
    m = load_tile(mu, mu_stride, source, (MU & ALONG) != 0, False, dtype)
    v = load_tile(logvar, logvar_stride, source, (LOGVAR & ALONG) != 0, False, dtype)
    noise = noise_tile(seed, eps, begin, cols, tile, GROUPED, dtype)
    store_tile(z, m + exponential(0.5 * v) * noise, cols, tile, False)
    if kl is not None:
        value = tl.where(inside & (row < batch), kl_standard(m, v)[0], 0.0)
        store_sums(
            kl, partials, counter, value, row, batch, unit, chunk, chunks, 1,
            ROWS, SPLIT, SUM_ROWS, SUM_COLS,
        )  # fmt: skip


@triton.jit(
    do_not_specialize=[
        "samples", "batch", "cols", "chunks", "mu_stride", "logvar_stride", "grad_z_stride",
        "grad_kl_stride",
    ]
)  # fmt: skip
def sample_backward_kernel(
    # Operands; grad_z or grad_kl may be None, seed or eps is.
    grad_z, grad_kl, mu, logvar, seed, eps,
    # Results.
    grad_mu, grad_logvar,
    samples: tl.int64, batch: tl.int64, cols: tl.int64, chunks: tl.int64,
    mu_stride: tl.int64, logvar_stride: tl.int64, grad_z_stride: tl.int64,
    grad_kl_stride: tl.int64,
    ALONG: tl.constexpr, ALIGNED: tl.constexpr, GROUPED: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLS: tl.constexpr,
):  # fmt: skip
    """Gradients of mu and logvar, [batch, cols], from those of z, [samples batch, cols], and of
    the KL, [batch]."""
    dtype: tl.constexpr = tl.float64 if mu.dtype.element_ty == tl.float64 else tl.float32
    # Dividing and multiplying by ALIGNED says to the compiler what the launcher knows.
    cols = cols // ALIGNED * ALIGNED
    mu_stride = mu_stride // ALIGNED * ALIGNED
    logvar_stride = logvar_stride // ALIGNED * ALIGNED
    grad_z_stride = grad_z_stride // ALIGNED * ALIGNED
    unit = tl.program_id(0).to(tl.int64)
    block = unit // chunks
    chunk = unit - block * chunks
    row = block * TILE_ROWS + tl.arange(0, TILE_ROWS)[:, None]
    begin = chunk * TILE_COLS
    col = begin + tl.arange(0, TILE_COLS)[None, :]
    row_inside = row < batch
    inside = row_inside & (col < cols)
    tile = (row, col, row_inside, inside)
    v = load_tile(logvar, logvar_stride, tile, (LOGVAR & ALONG) != 0, False, dtype)
    dmu = tl.zeros([TILE_ROWS, TILE_COLS], dtype)
    dlogvar = tl.zeros([TILE_ROWS, TILE_COLS], dtype)
    if grad_z is not None:
        for sample in range(0, samples):
            draw = (sample * batch + row, col, row_inside, inside)
            g = load_tile(grad_z, grad_z_stride, draw, (GRAD & ALONG) != 0, False, dtype)
            dmu += g
            dlogvar += g * noise_tile(seed, eps, begin, cols, draw, GROUPED, dtype)
        dlogvar *= 0.5 * exponential(0.5 * v)
    if grad_kl is not None:
        m = load_tile(mu, mu_stride, tile, (MU & ALONG) != 0, False, dtype)
        g = load_tile(grad_kl, grad_kl_stride, tile, False, False, dtype)
        dmu += g * m
        dlogvar += g * kl_standard(m, v)[1]
    store_tile(grad_mu, dmu, cols, tile, False)
    store_tile(grad_logvar, dlogvar, cols, tile, False)
