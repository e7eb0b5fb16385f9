"""The gradient of a parameter that columns, samples or all elements share.

The elements' derivatives are computed again and summed: over the rows of fixed groups for columns,
over the columns of each row otherwise. What groups or rows hold, the launcher adds up.
"""

import triton
import triton.language as tl

from .likelihood_kernel import COLUMN, derivatives, load_shared
from .tiles import TOTAL, load_scalar, reciprocal

MOST_TERMS = tl.constexpr(16)  # that are added in the arithmetic's dtype


@triton.jit(
    do_not_specialize=[
        "rows", "batch", "cols", "chunks", "group", "count", "stride0", "stride1", "stride2",
        "stride3", "stride4", "target_stride", "weight_stride", "grad_stride",
    ]
)  # fmt: skip
def shared_gradient_kernel(
    param0, param1, param2, param3, param4, target, starts, columns, weight, grad,
    # float64: [groups, cols] for columns, else [rows].
    sums,
    rows: tl.int64, batch: tl.int64, cols: tl.int64, chunks: tl.int64, group: tl.int64,
    count: tl.int64, stride0: tl.int64, stride1: tl.int64, stride2: tl.int64, stride3: tl.int64,
    stride4: tl.int64, target_stride: tl.int64, weight_stride: tl.int64, grad_stride: tl.int64,
    LIKELIHOOD: tl.constexpr, PARAMETERS: tl.constexpr, BYTES: tl.constexpr, MASK: tl.constexpr,
    STEPS: tl.constexpr, REDUCTION: tl.constexpr, ALONG: tl.constexpr, BINDING: tl.constexpr,
    WHICH: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLS: tl.constexpr,
):  # fmt: skip
    """Columns: a program has a run of them and a group of rows. Else: a run of rows."""
    OF_COLUMNS: tl.constexpr = (BINDING >> (2 * WHICH)) & 3 == COLUMN
    params = (param0, param1, param2, param3, param4)
    dtype: tl.constexpr = tl.float64 if param0.dtype.element_ty == tl.float64 else tl.float32
    scale = reciprocal(count, dtype)
    if REDUCTION == TOTAL and grad is not None:
        scale *= load_scalar(grad, dtype)
    shared = load_shared(params, PARAMETERS, BINDING, dtype)
    unit = tl.program_id(0).to(tl.int64)
    number = unit // chunks
    first_row = number * group
    last_row = tl.minimum(first_row + group, rows)
    first_col = (unit - number * chunks) * TILE_COLS
    # Tiles below each other for columns, beside each other otherwise.
    steps = tl.cdiv(last_row - first_row, TILE_ROWS) if OF_COLUMNS else tl.cdiv(cols, TILE_COLS)
    total = tl.zeros([TILE_COLS if OF_COLUMNS else TILE_ROWS], tl.float64)
    for first in range(0, steps, MOST_TERMS):
        part = tl.zeros([TILE_ROWS, TILE_COLS], dtype)
        for step in range(first, tl.minimum(first + MOST_TERMS, steps)):
            begin_row = first_row + step * TILE_ROWS if OF_COLUMNS else first_row
            begin_col = first_col if OF_COLUMNS else step * TILE_COLS
            row = begin_row + tl.arange(0, TILE_ROWS)[:, None]
            col = begin_col + tl.arange(0, TILE_COLS)[None, :]
            row_inside = row < last_row
            inside = row_inside & (col < cols)
            tile = (row, col, row_inside, inside)
            source = (row % batch, col, row_inside, inside)
            _, slopes = derivatives(
                params, (target, starts, columns), weight, grad,
                (
                    stride0, stride1, stride2, stride3, stride4, target_stride, weight_stride,
                    grad_stride,
                ),
                tile, source, shared, scale,
                LIKELIHOOD, PARAMETERS, 0.0, False, BYTES, MASK, STEPS, REDUCTION, ALONG, BINDING,
                False, dtype,
            )  # fmt: skip
            part += tl.where(inside, slopes[WHICH], 0.0)
        total += tl.sum(part.to(tl.float64), 0 if OF_COLUMNS else 1)
    if OF_COLUMNS:
        place = first_col + tl.arange(0, TILE_COLS)
        tl.store(sums + number * cols + place, total, mask=place < cols)
    else:
        place = first_row + tl.arange(0, TILE_ROWS)
        tl.store(sums + place, total, mask=place < rows)
