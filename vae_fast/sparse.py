"""Sparse targets: `torch.sparse_csr` matrices, which are never made dense."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

_Function = TypeVar("_Function", bound=Callable[..., Any])


def beside_the_compiler(function: _Function, target: object) -> _Function:
    """A function that takes a target, outside of compiled graphs if it is sparse.

    `torch.compile` cannot look into sparse tensors. Where nobody has imported it, and Triton with
    it, nothing is compiled.
    """
    sparse = isinstance(target, Tensor) and target.layout is not torch.strided
    return _outside(function) if sparse and "torch._dynamo" in sys.modules else function


@cache
def _outside(function: Any) -> Any:
    return torch.compiler.disable(function)


def split(target: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(target, None, None), or of a sparse one its values, where its rows start, and columns.

    Raises:
        ValueError: columns of a row do not ascend, repeat or lie outside, or the batch has further
            dimensions. On a GPU, where looking would make the host wait, this is not checked.
    """
    if target.layout is torch.strided:
        return target, None, None
    values, starts, columns = target.values(), target.crow_indices(), target.col_indices()
    if target.dim() != 2 or values.dim() != 1:
        raise ValueError(
            f"target: got a sparse tensor of shape {list(target.shape)} with values of shape"
            f" {list(values.shape)}, expected a matrix [B, G] of numbers"
        )
    if target.is_cpu:
        try:
            torch.sparse_csr_tensor(starts, columns, values, target.shape, check_invariants=True)
        except RuntimeError as error:
            raise ValueError(
                "target: got a sparse matrix whose columns do not ascend in every row, repeat, or"
                f" lie outside (scipy: sort_indices, sum_duplicates): {error}"
            ) from None
    return values.contiguous(), starts.contiguous(), columns.contiguous()
