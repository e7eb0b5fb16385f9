"""The gradient of a last parameter that columns or samples share.

The elements' derivatives are computed again and summed: over the rows of fixed groups for columns,
over the columns of each row for samples. What groups or Monte Carlo samples hold, the launcher adds
up.
"""

import triton
import triton.language as tl

from .likelihood_kernel import COLUMN, derivatives
from .tiles import TOTAL, load_scalar, reciprocal


@triton.jit(
    do_not_specialize=[
        "rows", "batch", "cols", "chunks", "group", "count", "param_stride", "last_stride",
        "target_stride", "weight_stride", "grad_stride",
    ]
)  # fmt: skip
def shared_gradient_kernel(
    param, last, target, weight, grad,
    # float64: [groups, cols] for columns, [rows] for samples.
    sums,
    rows: tl.int64, batch: tl.int64, cols: tl.int64, chunks: tl.int64, group: tl.int64,
    count: tl.int64, param_stride: tl.int64, last_stride: tl.int64, target_stride: tl.int64,
    weight_stride: tl.int64, grad_stride: tl.int64,
    LIKELIHOOD: tl.constexpr, BYTES: tl.constexpr, MASK: tl.constexpr, REDUCTION: tl.constexpr,
    ALONG: tl.constexpr, BINDING: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLS: tl.constexpr,
):  # fmt: skip
    """Columns: a program has a run of them and a group of rows. Samples: a run of rows."""
    dtype: tl.constexpr = tl.float64 if param.dtype.element_ty == tl.float64 else tl.float32
    scale = reciprocal(count, dtype)
    if REDUCTION == TOTAL and grad is not None:
        scale *= load_scalar(grad, dtype)
    unit = tl.program_id(0).to(tl.int64)
    number = unit // chunks
    first_row = number * group
    last_row = tl.minimum(first_row + group, rows)
    first_col = (unit - number * chunks) * TILE_COLS
    last_col = tl.minimum(first_col + TILE_COLS, cols) if BINDING == COLUMN else cols
    total = tl.zeros([TILE_ROWS, TILE_COLS], tl.float64)
    for begin_row in range(first_row, last_row, TILE_ROWS):
        for begin_col in range(first_col, last_col, TILE_COLS):
            row = begin_row + tl.arange(0, TILE_ROWS)[:, None]
            col = begin_col + tl.arange(0, TILE_COLS)[None, :]
            inside = row < last_row
            tile = (row, col, inside, inside & (col < cols))
            source = (row % batch, col, inside, inside & (col < cols))
            _, _, dlast = derivatives(
                (param, last, target, weight, grad),
                (param_stride, last_stride, target_stride, weight_stride, grad_stride),
                tile, source, scale, scale,
                LIKELIHOOD, 0.0, BYTES, MASK, REDUCTION, ALONG, BINDING, False, dtype,
            )  # fmt: skip
            total += dlast.to(tl.float64)
    if BINDING == COLUMN:
        place = first_col + tl.arange(0, TILE_COLS)
        tl.store(sums + number * cols + place, tl.sum(total, 0), mask=place < cols)
    else:
        place = first_row + tl.arange(0, TILE_ROWS)
        tl.store(sums + place, tl.sum(total, 1), mask=place < rows)
