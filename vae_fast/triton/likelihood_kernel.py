"""The row kernel of every likelihood, with the KL of the ELBO in the same launch.

Reads parameters, target and weight once; writes elements, sums and gradients in the same pass: 12
bytes per element for a float32 scalar loss with its gradient. The first programs take some tiles
of the likelihood each, the others one tile of the KL each.
"""

import triton
import triton.language as tl

from .gamma import log_factorial
from .latent_kernel import LOGVAR, MU, kl_tile
from .math import byte_to_unit
from .tiles import (
    DRAWS,
    ROWS,
    TOTAL,
    is_last,
    load_scalar,
    load_tile,
    reciprocal,
    row_numbers,
    store_partials,
    store_tile,
    sum_partials,
)

# How a parameter is shared, in the order of csrc/operand.h; two bits of BINDING each.
ELEMENT, COLUMN, SAMPLE, ONE = (tl.constexpr(code) for code in range(4))

# Bits of ALONG, operands whose columns differ: five parameters, and behind them
TARGET, WEIGHT, GRAD = (tl.constexpr(1 << bit) for bit in (5, 6, 7))


@triton.jit
def load_sparse(target, tile, STEPS: tl.constexpr, dtype: tl.constexpr):
    """A tile of a sparse target, each element looked up among the ascending columns of its row."""
    values, starts, columns = target
    row, col, row_inside, inside = tile
    start = tl.load(starts + row, mask=row_inside, other=0).to(tl.int64)
    end = tl.load(starts + row + 1, mask=row_inside, other=0).to(tl.int64)
    low = tl.broadcast_to(start, inside.shape)
    high = tl.broadcast_to(end, inside.shape)
    for _ in range(STEPS):
        middle = (low + high) // 2
        before = tl.load(columns + middle, mask=low < high, other=0) < col
        low, high = tl.where(before & (low < high), middle + 1, low), tl.where(before, high, middle)
    there = inside & (low < end)
    found = there & (tl.load(columns + low, mask=there, other=0) == col)
    return tl.load(values + low, mask=found, other=0).to(dtype)


@triton.jit
def derivatives(
    params, target, weight, grad, strides, tile, source, shared, scale,
    LIKELIHOOD: tl.constexpr, PARAMETERS: tl.constexpr, CONSTANT: tl.constexpr,
    WITHOUT_GAMMA: tl.constexpr, BYTES: tl.constexpr, MASK: tl.constexpr, STEPS: tl.constexpr,
    REDUCTION: tl.constexpr, ALONG: tl.constexpr, BINDING: tl.constexpr, FULL: tl.constexpr,
    dtype: tl.constexpr,
):  # fmt: skip
    """Values of a tile, weighted, and their derivatives, as they go into the gradients.

    `source` is the tile of target and weight, which Monte Carlo samples share. WITHOUT_GAMMA:
    log Gamma(t + 1), which the functor includes, is taken out. BYTES: uint8 targets are read as
    x / 255. MASK: the weight is one. STEPS: of the search in a sparse target.
    """
    if STEPS:
        t = load_sparse(target, source, STEPS, dtype)
    else:
        t = load_tile(target[0], strides[5], source, (TARGET & ALONG) != 0, FULL, dtype)
    if BYTES and target[0].dtype.element_ty == tl.uint8:
        t = byte_to_unit(t)
    p = ()
    for k in tl.static_range(5):
        if k >= PARAMETERS:
            p = p + (0.0,)
        elif (BINDING >> 2 * k) & 3 == ONE:
            p = p + (shared[k],)
        else:
            at = source if (BINDING >> 2 * k) & 3 == SAMPLE else tile
            p = p + (load_tile(params[k], strides[k], at, ((ALONG >> k) & 1) != 0, FULL, dtype),)
    computed = LIKELIHOOD(p, t)
    value = computed[0]
    if WITHOUT_GAMMA:
        value -= log_factorial(t)
    value += CONSTANT
    if weight is not None:
        w = load_tile(weight, strides[6], source, (WEIGHT & ALONG) != 0, FULL, dtype)
        value = tl.where(w != 0.0, value, 0.0) if MASK else value * w
    if REDUCTION != TOTAL and grad is not None:
        at = source if REDUCTION == ROWS else tile
        g = load_tile(grad, strides[7], at, (GRAD & ALONG) != 0, FULL, dtype)
    slopes = ()
    for k in tl.static_range(PARAMETERS):
        slope = computed[k + 1] * scale
        if weight is not None:
            slope = tl.where(w != 0.0, slope, 0.0) if MASK else slope * w
        if REDUCTION != TOTAL and grad is not None:
            slope *= g
        slopes = slopes + (slope,)
    if not FULL:
        value = tl.where(tile[3], value, 0.0)
    return value, slopes


@triton.jit
def nll_tile(
    params, target, weight, grad, strides, results, cols, tile, source, shared, scale,
    LIKELIHOOD: tl.constexpr, PARAMETERS: tl.constexpr, CONSTANT: tl.constexpr,
    WITHOUT_GAMMA: tl.constexpr, BYTES: tl.constexpr, MASK: tl.constexpr, STEPS: tl.constexpr,
    REDUCTION: tl.constexpr, ALONG: tl.constexpr, BINDING: tl.constexpr, FULL: tl.constexpr,
    dtype: tl.constexpr,
):  # fmt: skip
    """Values of a tile; stores the wanted elements."""
    value, slopes = derivatives(
        params, target, weight, grad, strides, tile, source, shared, scale,
        LIKELIHOOD, PARAMETERS, CONSTANT, WITHOUT_GAMMA, BYTES, MASK, STEPS, REDUCTION, ALONG,
        BINDING, FULL, dtype,
    )  # fmt: skip
    if results[0] is not None:
        store_tile(results[0], value, cols, tile, FULL)
    for k in tl.static_range(PARAMETERS):
        if results[k + 1] is not None and (BINDING >> 2 * k) & 3 == ELEMENT:
            store_tile(results[k + 1], slopes[k], cols, tile, FULL)
    return value


@triton.jit
def load_shared(params, PARAMETERS: tl.constexpr, BINDING: tl.constexpr, dtype: tl.constexpr):
    """The parameters that are one for all; 0 in the places of others."""
    shared = ()
    for k in tl.static_range(PARAMETERS):
        if (BINDING >> 2 * k) & 3 == ONE:
            shared = shared + (load_scalar(params[k], dtype),)
        else:
            shared = shared + (0.0,)
    return shared


@triton.jit
def nll_unit(
    params, target, weight, grad, strides, results, partials,
    unit, rows, batch, cols, chunks, count,
    LIKELIHOOD: tl.constexpr, PARAMETERS: tl.constexpr, CONSTANT: tl.constexpr,
    WITHOUT_GAMMA: tl.constexpr, BYTES: tl.constexpr, MASK: tl.constexpr, STEPS: tl.constexpr,
    REDUCTION: tl.constexpr, ALONG: tl.constexpr, BINDING: tl.constexpr,
    SOME_FULL: tl.constexpr, ONE_ROW: tl.constexpr,
    TILES: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLS: tl.constexpr,
):  # fmt: skip
    """TILES tiles of the likelihood side by side, and their sums where there is room for them."""
    dtype: tl.constexpr = tl.float64 if params[0].dtype.element_ty == tl.float64 else tl.float32
    scale = reciprocal(count, dtype)
    if REDUCTION == TOTAL and grad is not None:
        scale *= load_scalar(grad, dtype)
    shared = load_shared(params, PARAMETERS, BINDING, dtype)
    block = unit // chunks
    chunk = unit - block * chunks
    row = row_numbers(block, TILE_ROWS, ONE_ROW)
    row_inside = row < rows
    source_row = row if ONE_ROW else row % batch
    value_sum = tl.zeros([TILE_ROWS, TILE_COLS], dtype)
    for number in range(TILES):
        begin = (chunk * TILES + number) * TILE_COLS
        col = begin + tl.arange(0, TILE_COLS)[None, :]
        inside = row_inside & (col < cols)
        tile = (row, col, row_inside, inside)
        source = (source_row, col, row_inside, inside)
        full = (block * TILE_ROWS + TILE_ROWS <= rows) & (begin + TILE_COLS <= cols)
        if full & SOME_FULL:
            value = nll_tile(
                params, target, weight, grad, strides, results, cols, tile, source, shared, scale,
                LIKELIHOOD, PARAMETERS, CONSTANT, WITHOUT_GAMMA, BYTES, MASK, STEPS, REDUCTION,
                ALONG, BINDING, True, dtype,
            )  # fmt: skip
        else:
            value = nll_tile(
                params, target, weight, grad, strides, results, cols, tile, source, shared, scale,
                LIKELIHOOD, PARAMETERS, CONSTANT, WITHOUT_GAMMA, BYTES, MASK, STEPS, REDUCTION,
                ALONG, BINDING, False, dtype,
            )  # fmt: skip
        if partials is not None:
            value_sum += value
    if partials is not None:
        store_partials(partials, value_sum, row, rows, unit, chunk, chunks, REDUCTION)


@triton.jit
def latent_unit(
    operands, strides, results, partials, unit, rows, cols, chunks, beta, count,
    REDUCTION: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLS: tl.constexpr,
):  # fmt: skip
    """A tile of the KL to N(0, 1), or of the given one: its gradients, beta times its own, and its
    sums where there is room for them."""
    kl, mu, logvar, grad = operands
    mu_stride, logvar_stride, grad_stride = strides
    grad_kl, grad_mu, grad_logvar = results
    source = kl if mu is None else mu
    dtype: tl.constexpr = tl.float64 if source.dtype.element_ty == tl.float64 else tl.float32
    ROW_GRAD: tl.constexpr = REDUCTION == ROWS and grad is not None
    scale = beta.to(dtype) * reciprocal(count, dtype)
    if REDUCTION == TOTAL and grad is not None:
        scale *= load_scalar(grad, dtype)
    block = unit // chunks
    chunk = unit - block * chunks
    row = block * TILE_ROWS + tl.arange(0, TILE_ROWS)[:, None]
    col = chunk * TILE_COLS + tl.arange(0, TILE_COLS)[None, :]
    tile = (row, col, row < rows, (row < rows) & (col < cols))
    if mu is not None:
        value = kl_tile(
            (mu, logvar, None, None, grad if ROW_GRAD else None),
            (mu_stride, logvar_stride, 0, 0, grad_stride),
            (None, grad_mu, grad_logvar, None, None),
            cols, tile, scale, MU | LOGVAR, False, dtype,
        )  # fmt: skip
    else:
        value = load_tile(kl, cols, tile, True, False, dtype)
        if grad_kl is not None:
            factor = scale + tl.zeros_like(value)
            if ROW_GRAD:
                factor *= load_tile(grad, grad_stride, tile, False, False, dtype)
            store_tile(grad_kl, factor, cols, tile, False)
    if partials is not None:
        store_partials(partials, value, row, rows, unit, chunk, chunks, REDUCTION)


@triton.jit
def finish_loss(
    results, partials, batch, samples, chunks, count, kl_partials, kl_chunks, kl_count, beta,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Adds the partial sums of each of `batch` results and writes loss = recon + beta kl."""
    loss, recon, kl_out = results
    dtype: tl.constexpr = loss.dtype.element_ty
    for first in range(0, batch, ROWS):
        b = first + tl.arange(0, ROWS)
        total = sum_partials(partials, b, batch, samples, chunks, ROWS, COLS)
        total = total / count.to(tl.float64)
        if recon is not None:
            kl = sum_partials(kl_partials, b, batch, 1, kl_chunks, ROWS, COLS)
            kl = kl / kl_count.to(tl.float64)
            tl.store(recon + b, total.to(dtype), mask=b < batch)
            tl.store(kl_out + b, kl.to(dtype), mask=b < batch)
            total += beta * kl
        tl.store(loss + b, total.to(dtype), mask=b < batch)


@triton.jit(
    do_not_specialize=[
        "beta", "rows", "batch", "cols", "chunks", "units", "count", "stride0", "stride1",
        "stride2", "stride3", "stride4", "target_stride", "weight_stride", "grad_stride",
        "latent_rows", "latents", "latent_chunks", "latent_units", "kl_count", "mu_stride",
        "mu_logvar_stride",
    ]
)  # fmt: skip
def elbo_kernel(
    # Operands; None where absent.
    param0, param1, param2, param3, param4, target, starts, columns, weight, kl, mu, mu_logvar,
    beta_tensor, grad,
    # Results; None where not wanted.
    loss, recon, kl_out, values, grad0, grad1, grad2, grad3, grad4, grad_kl, grad_mu,
    grad_mu_logvar,
    # Partial sums, and how many programs have stored theirs.
    partials, counter,
    beta: tl.float64,
    # The likelihood: [rows, cols] in units of TILES tiles; targets are [batch, cols].
    rows: tl.int64, batch: tl.int64, cols: tl.int64, chunks: tl.int64, units: tl.int64,
    count: tl.int64, stride0: tl.int64, stride1: tl.int64, stride2: tl.int64, stride3: tl.int64,
    stride4: tl.int64, target_stride: tl.int64, weight_stride: tl.int64, grad_stride: tl.int64,
    # The KL: [latent_rows, latents] in units of one tile.
    latent_rows: tl.int64, latents: tl.int64, latent_chunks: tl.int64, latent_units: tl.int64,
    kl_count: tl.int64, mu_stride: tl.int64, mu_logvar_stride: tl.int64,
    LIKELIHOOD: tl.constexpr, PARAMETERS: tl.constexpr, CONSTANT: tl.constexpr,
    WITHOUT_GAMMA: tl.constexpr, BYTES: tl.constexpr, MASK: tl.constexpr, STEPS: tl.constexpr,
    REDUCTION: tl.constexpr, ALONG: tl.constexpr, BINDING: tl.constexpr,
    ALIGNED: tl.constexpr, SOME_FULL: tl.constexpr,
    ONE_ROW: tl.constexpr, TILES: tl.constexpr, TILE_ROWS: tl.constexpr,
    TILE_COLS: tl.constexpr,
    LATENT_ALIGNED: tl.constexpr, LATENT_ROWS: tl.constexpr, LATENT_COLS: tl.constexpr,
    SUM_ROWS: tl.constexpr, SUM_COLS: tl.constexpr, UNLESS_ONE: tl.constexpr,
    DIRECT: tl.constexpr,
):  # fmt: skip
    """Loss, its parts, and the wanted gradients; nothing at all if UNLESS_ONE and grad is 1.

    DIRECT: each loss is a sum that one program has whole, so that none has to finish them.
    """
    if UNLESS_ONE:
        done = tl.load(grad) == 1.0
        if done:
            return
    SUMS: tl.constexpr = loss is not None and not DIRECT
    unit = tl.program_id(0).to(tl.int64)
    beta = tl.full((), beta, tl.float64)
    if beta_tensor is not None:
        beta *= load_scalar(beta_tensor, tl.float64)
    # Partial sums: of the likelihood, then of the KL.
    sums = units if REDUCTION == TOTAL else rows * chunks

    # Dividing and multiplying by ALIGNED says to the compiler what the launcher knows.
    if unit < units:
        nll_unit(
            (param0, param1, param2, param3, param4), (target, starts, columns), weight, grad,
            (
                stride0 // ALIGNED * ALIGNED,
                stride1 // ALIGNED * ALIGNED,
                stride2 // ALIGNED * ALIGNED,
                stride3 // ALIGNED * ALIGNED,
                stride4 // ALIGNED * ALIGNED,
                target_stride // ALIGNED * ALIGNED,
                weight_stride // ALIGNED * ALIGNED,
                grad_stride // ALIGNED * ALIGNED,
            ),
            (values, grad0, grad1, grad2, grad3, grad4),
            partials if SUMS else loss if DIRECT else None,
            unit, rows, batch, cols // ALIGNED * ALIGNED, chunks, count,
            LIKELIHOOD, PARAMETERS, CONSTANT, WITHOUT_GAMMA, BYTES, MASK, STEPS, REDUCTION, ALONG,
            BINDING, SOME_FULL, ONE_ROW, TILES, TILE_ROWS, TILE_COLS,
        )  # fmt: skip
    elif kl is not None or mu is not None:
        latent_unit(
            (kl, mu, mu_logvar, grad),
            (
                mu_stride // LATENT_ALIGNED * LATENT_ALIGNED,
                mu_logvar_stride // LATENT_ALIGNED * LATENT_ALIGNED,
                grad_stride,
            ),
            (grad_kl, grad_mu, grad_mu_logvar),
            partials + sums if SUMS else None,
            unit - units, latent_rows, latents // LATENT_ALIGNED * LATENT_ALIGNED, latent_chunks,
            beta, kl_count, REDUCTION, LATENT_ROWS, LATENT_COLS,
        )  # fmt: skip

    if SUMS:
        last = is_last(counter)
        if last:
            whole: tl.constexpr = REDUCTION == TOTAL
            alone: tl.constexpr = REDUCTION == DRAWS
            finish_loss(
                (loss, recon, kl_out), partials,
                1 if whole else rows if alone else batch,
                1 if whole or alone else rows // batch,
                units if whole else chunks, count,
                partials + sums, latent_units if whole else latent_chunks, kl_count, beta,
                SUM_ROWS, SUM_COLS,
            )  # fmt: skip
