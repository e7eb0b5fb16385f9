"""Strides of outputs, for shape kernels: the mirror of `RowLayout` in csrc/tensors.cpp.

The elements of a row lie in logical order, or in another dense order (channels last) that all
tensors of a call share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def fills_run(t: Tensor, lead: int) -> bool:
    """Whether the event dimensions fill one run of memory, in whatever order."""
    dims = [(t.stride(d), t.shape[d]) for d in range(lead, t.dim()) if t.shape[d] != 1]
    expected = 1
    for stride, size in sorted(dims, key=lambda pair: pair[0]):
        if stride != expected:
            return False
        expected *= size
    return True


def in_logical_order(t: Tensor, lead: int) -> bool:
    """Whether the event dimensions are contiguous as they stand."""
    expected = 1
    for d in reversed(range(lead, t.dim())):
        if t.shape[d] == 1:
            continue
        if t.stride(d) != expected:
            return False
        expected *= t.shape[d]
    return True


def shares_order(t: Tensor, lead: int, strides: Sequence[int]) -> bool:
    """Whether a tensor has these event strides, or is constant along its events."""
    events = [(t.shape[d], t.stride(d)) for d in range(lead, t.dim())]
    if any(size != 1 for size, _ in events) and all(s == 0 for n, s in events if n != 1):
        return True
    return all(n == 1 or s == e for (n, s), e in zip(events, strides, strict=True))


class Order:
    """The order of the elements of a row in memory that the tensors of a call share.

    Attributes:
        events: the strides of the event dimensions, None for the logical order.
    """

    def __init__(
        self, leader: Tensor, lead: int, others: Iterable[tuple[Tensor | None, int]] = ()
    ) -> None:
        """
        Args:
            leader: the tensor that sets the order.
            lead: its number of leading (row) dimensions.
            others: the other tensors of the call with their leading dimensions.
        """
        self.events: list[int] | None = None
        if in_logical_order(leader, lead) or not fills_run(leader, lead):
            return
        strides = list(leader.stride()[lead:])
        if all(t is None or shares_order(t, n, strides) for t, n in others):
            self.events = strides

    def empty(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """An empty tensor of a shape that ends with the event, dense in this order."""
        if self.events is None:
            return like.new_empty(like.shape, dtype=dtype)
        lead = like.dim() - len(self.events)
        step = 1
        for size in like.shape[lead:]:
            step = step * size
        strides: list[int] = []
        for d in reversed(range(lead)):
            strides.insert(0, step)
            step = step * max(like.shape[d], 1)
        return like.new_empty_strided(like.shape, strides + self.events, dtype=dtype)
