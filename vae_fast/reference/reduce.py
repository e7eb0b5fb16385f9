"""The reductions, by the codes that the operators take."""

from __future__ import annotations

from torch import Tensor

NONE, SAMPLE, BATCHMEAN, SUM, MEAN, DRAW = range(6)


def reduce_elements(values: Tensor, reduction: int, with_samples: bool = False) -> Tensor:
    """Reduces elements ``[B, ...]`` or, with Monte Carlo samples, ``[L, B, ...]``.

    "sample", "batchmean" and "sum" average over the samples, "draw" keeps them apart.
    """
    if reduction == NONE:
        return values
    if reduction == DRAW:
        return _sum_events(values, 2 if with_samples else 1)
    if reduction == MEAN:
        return values.mean()
    rows = _sum_events(values, 2).mean(0) if with_samples else _sum_events(values, 1)
    return reduce_rows(rows, reduction)


def _sum_events(values: Tensor, lead: int) -> Tensor:
    events = tuple(range(lead, values.dim()))
    return values.sum(events) if events else values


def reduce_rows(rows: Tensor, reduction: int) -> Tensor:
    """Reduces one value per sample."""
    if reduction == SAMPLE:
        return rows
    return rows.mean() if reduction == BATCHMEAN else rows.sum()
