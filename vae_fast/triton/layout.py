"""Views of tensors as [rows, cols] operands, the mirror of `RowLayout` in csrc/tensors.cpp.

The elements of a row lie in logical order, or in another dense order (channels last) that all
tensors of a call share. What has neither is copied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..ops.layout import fills_run, in_logical_order, shares_order


class Operand(NamedTuple):
    """A tensor viewed as [rows, cols].

    Attributes:
        data: the tensor, or a copy of it; None for an operand that a call does not have.
        stride: between rows, in elements.
        along: whether the columns differ; if not, a row holds one value for all of them.
    """

    data: Tensor | None
    stride: int
    along: bool

    def dense(self, cols: int) -> bool:
        """Whether the rows lie behind one another."""
        return self.along and self.stride == cols


ABSENT = Operand(None, 0, True)


class Rows:
    """The order of the elements in the rows of one call."""

    def __init__(
        self, leader: Tensor, lead: int, others: Sequence[tuple[Tensor | None, int]] = ()
    ) -> None:
        """`lead` dimensions of the leader are rows, the rest events; likewise of the others."""
        self._events: list[int] | None = None
        if leader.is_contiguous() or in_logical_order(leader, lead):
            return
        strides = list(leader.stride()[lead:])
        if fills_run(leader, lead) and all(
            t is None or shares_order(t, n, strides) for t, n in others
        ):
            self._events = strides

    def view(self, t: Tensor, lead: int, cols: int, along: bool = False) -> Operand:
        """A tensor as an operand; copied where its strides allow no view.

        Args:
            t: the tensor.
            lead: its number of leading dimensions that are rows.
            cols: its elements in a row.
            along: copied also where a row holds one value.
        """
        if self._events is None and t.is_contiguous():
            return Operand(t, cols, True)
        constant = _constant(t, lead)
        # A permuted order is one that every tensor of the call has, or else it is constant.
        if not along if constant else self._events is not None or in_logical_order(t, lead):
            stride = _row_stride(t, lead)
            if stride is not None:
                return Operand(t, stride, not constant)
        return Operand(self.empty(t.shape, lead, t.dtype, t.device).copy_(t), cols, True)

    def empty(
        self, shape: Sequence[int], lead: int, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """A dense tensor in this order."""
        if self._events is None:
            return torch.empty(shape, dtype=dtype, device=device)
        strides = list(self._events)
        step = math.prod(shape[lead:])
        for size in reversed(shape[:lead]):
            strides.insert(0, step)
            step *= max(size, 1)
        return torch.empty_strided(shape, strides, dtype=dtype, device=device)


def _constant(t: Tensor, lead: int) -> bool:
    """Whether all elements of a row are one in memory."""
    strides = [s for n, s in zip(t.shape[lead:], t.stride()[lead:], strict=True) if n != 1]
    return bool(strides) and not any(strides)


def _row_stride(t: Tensor, lead: int) -> int | None:
    """The common stride of the leading dimensions as one row number; None where there is none."""
    stride, expected = 0, None
    for d in reversed(range(lead)):
        if t.shape[d] == 1:
            continue
        if expected is None:
            stride = t.stride(d)
        elif t.stride(d) != expected:
            return None
        expected = t.stride(d) * t.shape[d]
    return stride
