"""Parameters that were expanded over the batch before they were given, as scvi-tools does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .routing import transforms_active


def is_expanded(t: Tensor, lead: int) -> bool:
    """Whether all rows of a tensor, of `lead` dimensions, are the same memory.

    A leaf is not: its gradient can be looked at, row by row.
    """
    if t.stride(0) != 0 or (t.is_leaf and t.requires_grad) or transforms_active():
        return False
    rows = [(t.shape[d], t.stride(d)) for d in range(lead)]
    return any(n > 1 for n, _ in rows) and all(s == 0 for n, s in rows if n > 1)


class _Row(torch.autograd.Function):
    """The row that all rows are.

    Whatever expanded it adds up the gradients of its rows, so that any that add up to the row's are
    right; equal ones take no memory.
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, lead: int) -> Tensor:
        ctx.shape = t.shape
        ctx.rows = t.shape[:lead].numel()
        return t[(0,) * lead]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return (grad / ctx.rows).expand(ctx.shape), None


def unexpanded(t: Tensor, lead: int) -> Tensor:
    """The event that `is_expanded` found in every row."""
    return _Row.apply(t, lead) if t.requires_grad else t[(0,) * lead]
