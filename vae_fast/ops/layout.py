"""Strides of outputs, for shape kernels: the mirror of `RowLayout` in csrc/tensors.cpp.

The elements of a row lie in logical order, or in another dense order (channels last) that all
tensors of a call share.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..layout import fills_run, in_logical_order, shares_order


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
