"""What all kernels share: tiles of [rows, cols] operands, and sums that are the same in every run.

An operand has a row stride and, along its columns, unit stride or one value for all (`ALONG`). All
index arithmetic is in 64 bits. Sums: at most 16 terms are added in the arithmetic's dtype, all else
in float64, each program storing its partial sum; the program that finishes last, as an integer
counter tells it, adds the partial sums in an order that the shape alone decides.
"""

import triton
import triton.language as tl

from .math import float_bits

# What is summed over: nothing, the columns of each row, everything, or the columns of each row of
# each Monte Carlo draw.
ELEMENTS, ROWS, TOTAL, DRAWS = (tl.constexpr(code) for code in range(4))

# Triton's interpreter cuts bfloat16 off instead of rounding it.
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def rounded(x, dtype: tl.constexpr):
    """x in another floating-point dtype, to nearest, ties to even."""
    if INTERPRETED and dtype == tl.bfloat16:
        x = x.to(tl.float32)
        bits = float_bits(x).to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        bits = tl.where(x == x, bits, 0x7FC0)
        return bits.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return x.to(dtype)


@triton.jit
def row_numbers(block, ROWS: tl.constexpr, ONE_ROW: tl.constexpr):
    """The rows of a block, [ROWS, 1]; a single row is known to be row 0, wherever it is aligned."""
    if ONE_ROW:
        return tl.zeros([1, 1], tl.int64)
    else:
        return block * ROWS + tl.arange(0, ROWS)[:, None]


@triton.jit
def load_scalar(pointer, dtype: tl.constexpr):
    return tl.load(pointer).to(dtype)


@triton.jit
def load_tile(pointer, stride, tile, ALONG: tl.constexpr, FULL: tl.constexpr, dtype: tl.constexpr):
    """A tile of an operand in the arithmetic's dtype; 0 outside.

    Args:
        pointer: to the operand.
        stride: of its rows.
        tile: row numbers [R, 1], column numbers [1, C], which rows are there [R, 1], which
            elements are there [R, C].
        ALONG: whether the operand's columns differ.
        FULL: all elements are there.
        dtype: of the arithmetic.
    """
    row, col, row_inside, inside = tile
    if ALONG:
        place = pointer + row * stride + col
        x = tl.load(place) if FULL else tl.load(place, mask=inside, other=0)
    else:
        place = pointer + row * stride
        x = tl.load(place) if FULL else tl.load(place, mask=row_inside, other=0)
        x = tl.broadcast_to(x, [row.shape[0], col.shape[1]])
    return x.to(dtype)


@triton.jit
def store_tile(pointer, x, cols, tile, FULL: tl.constexpr):
    """Stores a tile of a dense result."""
    row, col, _row_inside, inside = tile
    place = pointer + row * cols + col
    x = rounded(x, pointer.dtype.element_ty)
    if FULL:
        tl.store(place, x)
    else:
        tl.store(place, x, mask=inside)


@triton.jit
def is_last(counter):
    """Whether all other programs have stored their partial sums; leaves the counter at zero."""
    tl.debug_barrier()  # all threads have stored before the first one counts this program
    last = tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") == tl.num_programs(0) - 1
    if last:
        tl.store(counter, 0)
    return last


@triton.jit
def sum_partials(partials, b, batch, samples, chunks, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Sums of partials[samples, batch, chunks] over samples and chunks for the rows b."""
    total = tl.zeros([ROWS, COLS], tl.float64)
    terms = samples * chunks
    for first in range(0, terms, COLS):
        term = first + tl.arange(0, COLS)[None, :]
        sample = term // chunks
        place = (sample * batch + b[:, None]) * chunks + (term - sample * chunks)
        inside = (term < terms) & (b < batch)[:, None]
        # Past the first-level cache, which knows nothing of what other programs stored.
        total += tl.load(partials + place, mask=inside, other=0.0, cache_modifier=".cg")
    return tl.sum(total, 1)


@triton.jit
def reciprocal(count, dtype: tl.constexpr):
    """1 / count for an integer, correctly rounded."""
    if dtype == tl.float64:
        return 1.0 / count.to(tl.float64)
    else:
        return tl.div_rn(1.0, count.to(tl.float32))


@triton.jit
def store_partials(partials, values, row, rows, unit, chunk, chunks, REDUCTION: tl.constexpr):
    """Stores the sum of a tile of values, or those of its rows, for the last program to add."""
    sums = tl.sum(values.to(tl.float64), 1)
    if REDUCTION == TOTAL:
        tl.store(partials + unit, tl.sum(sums))
    else:
        place = tl.reshape(row, [row.shape[0]])
        tl.store(partials + place * chunks + chunk, sums, mask=place < rows)


@triton.jit
def store_sums(
    out, partials, counter, values, row, rows, unit, chunk, chunks, count,
    REDUCTION: tl.constexpr, SPLIT: tl.constexpr,
    SUM_ROWS: tl.constexpr, SUM_COLS: tl.constexpr,
):  # fmt: skip
    """Writes the sum of every row of values, or of all, divided by count.

    SPLIT: several programs share a sum.
    """
    if SPLIT:
        store_partials(partials, values, row, rows, unit, chunk, chunks, REDUCTION)
        last = is_last(counter)
        if last:
            batch = rows * 0 + 1 if REDUCTION == TOTAL else rows
            terms = tl.num_programs(0).to(tl.int64) if REDUCTION == TOTAL else chunks
            for first in range(0, batch, SUM_ROWS):
                b = first + tl.arange(0, SUM_ROWS)
                total = sum_partials(partials, b, batch, 1, terms, SUM_ROWS, SUM_COLS) / count
                tl.store(out + b, rounded(total, out.dtype.element_ty), mask=b < batch)
    else:
        total = tl.sum(values.to(tl.float64), 1) / count
        place = tl.reshape(row, [row.shape[0]])
        tl.store(out + place, rounded(total, out.dtype.element_ty), mask=place < rows)
