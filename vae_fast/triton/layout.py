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

from ..layout import fills_run, in_logical_order, shares_order

# A tensor without its memory: dtype, shape, strides.
Form = tuple[torch.dtype, Sequence[int], Sequence[int]]


def dense(shape: Sequence[int], dtype: torch.dtype) -> Form:
    """A contiguous tensor."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= max(size, 1)
    return dtype, shape, strides


class Operand(NamedTuple):
    """A tensor viewed as [rows, cols].

    Attributes:
        stride: between rows, in elements.
        along: whether the columns differ; if not, a row holds one value for all of them.
        copy: what the tensor is copied to where its strides allow no view.
    """

    stride: int
    along: bool
    copy: Form | None = None

    def dense(self, cols: int) -> bool:
        """Whether the rows lie behind one another."""
        return self.along and self.stride == cols


ABSENT = Operand(0, True)


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

    def view(self, t: Tensor | None, lead: int, cols: int, along: bool = False) -> Operand:
        """A tensor as an operand, ABSENT if there is none.

        Args:
            t: the tensor.
            lead: its number of leading dimensions that are rows.
            cols: its elements in a row.
            along: copied also where a row holds one value.
        """
        if t is None:
            return ABSENT
        if self._events is None and t.is_contiguous():
            return Operand(cols, True)
        constant = _constant(t, lead)
        if not along if constant else self._in_order(t, lead):
            stride = _row_stride(t, lead)
            if stride is not None:
                return Operand(stride, not constant)
        return Operand(cols, True, self.form(t.shape, lead, t.dtype))

    def _in_order(self, t: Tensor, lead: int) -> bool:
        if self._events is None:
            return in_logical_order(t, lead)
        return shares_order(t, lead, self._events)

    def form(self, shape: Sequence[int], lead: int, dtype: torch.dtype) -> Form:
        """A dense tensor in this order."""
        if self._events is None:
            return dense(shape, dtype)
        _, _, strides = dense((*shape[:lead], math.prod(shape[lead:])), dtype)
        return dtype, shape, [*strides[:-1], *self._events]


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
