"""What calls have in common whose tensors differ in values and addresses alone.

An operator describes its tensors by forms. From forms and options a function under `planned` makes,
once, all that does not change: layouts, cut, results, launch. It sees no tensor that has memory, so
a plan depends on nothing but its key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from .launch import Launch
from .layout import Form, Operand

_Make = TypeVar("_Make", bound=Callable[..., "Plan"])


def planned(make: _Make) -> _Make:
    """Keeps plans; sizes that never stop changing push out those unused for longest."""
    return cast(_Make, lru_cache(maxsize=1024)(make))


def forms(tensors: Iterable[Tensor | None]) -> list[Form | None]:
    return [None if t is None else (t.dtype, t.shape, t.stride()) for t in tensors]


def blank(form: Form | None) -> Any:
    """A tensor of a form, without memory."""
    if form is None:
        return None
    dtype, shape, stride = form
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def copies(operands: Iterable[Operand]) -> dict[int, Form | None]:
    """The places of operands that no kernel can read where they are, and the forms of copies."""
    return {place: o.copy for place, o in enumerate(operands) if o.copy is not None}


class Plan:
    """All that does not change from call to call."""

    def __init__(
        self,
        device: torch.device,
        results: Sequence[Form | None],
        launch: Launch | None,
        replaced: dict[int, Form | None],
    ) -> None:
        """
        Args:
            device: of all tensors.
            results: of the kernel; None where not wanted.
            launch: of the kernel on operands and results; None if there is nothing to compute.
            replaced: places of operands that the kernel gets as a copy of some form, or not at all.
        """

        def new(form: Form | None) -> Callable[[], Tensor] | None:
            if form is None:
                return None
            dtype, shape, stride = form
            return partial(torch.empty_strided, shape, stride, dtype=dtype, device=device)

        self._results = [new(form) for form in results]
        self._launch = launch
        self._replaced = [(place, new(form)) for place, form in replaced.items()]

    def __call__(
        self,
        operands: list[Any],
        *scalars: float,
        results: Sequence[Tensor | None] | None = None,
    ) -> Any:
        """Launches the kernel; returns its results, None where not wanted.

        Args:
            operands: of the kernel.
            scalars: what else changes from call to call.
            results: tensors to write to instead of new ones.
        """
        if results is None:
            results = [None if new is None else new() for new in self._results]
        if self._launch is not None:
            for place, new in self._replaced:
                operands[place] = None if new is None else new().copy_(operands[place])
            self._launch((*operands, *results), *scalars)
        return results
