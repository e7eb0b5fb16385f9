"""Rows of a data set: uint8 or bool [N, features] of images, int32 `torch.sparse_csr` [N, genes] of
counts, of which only what a network reads of one batch is made dense."""

from __future__ import annotations

import torch
from torch import Tensor

PART = 1000


def take(rows: Tensor, chosen: Tensor) -> Tensor:
    """The chosen rows, int64 [B], in their order."""
    if rows.layout is torch.strided:
        return rows[chosen]
    starts = rows.crow_indices()
    first, counts = starts[chosen], starts.diff()[chosen]
    ends = counts.cumsum(0)
    # Where each number of the batch lies: its row's first one, and how far behind that it is.
    shift = (first - ends + counts).repeat_interleave(counts)
    places = shift + torch.arange(len(shift), device=rows.device)
    return torch.sparse_csr_tensor(
        torch.cat((ends.new_zeros(1), ends)).to(starts.dtype),
        rows.col_indices()[places],
        rows.values()[places],
        (len(chosen), rows.shape[1]),
        check_invariants=False,
    )


def to_input(rows: Tensor) -> Tensor:
    """What the network reads, float32: pixels in [0, 1] of uint8 0..255 or bool, or counts."""
    if rows.layout is not torch.strided:
        return rows.float().to_dense()
    return rows.float() if rows.dtype == torch.bool else rows / 255


def first(rows: Tensor, count: int) -> Tensor:
    """The first rows, at most so many."""
    return take(rows, torch.arange(min(count, len(rows)), device=rows.device))


def in_parts(rows: Tensor, labels: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """Rows and their labels in parts of a size that fits any memory."""
    assert labels is None or len(labels) == len(rows)
    chosen = torch.arange(len(rows), device=rows.device).split(PART)
    of_parts = [None] * len(chosen) if labels is None else labels.split(PART)
    return [(take(rows, part), some) for part, some in zip(chosen, of_parts, strict=True)]
