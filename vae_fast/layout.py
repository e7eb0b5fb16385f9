"""How the elements of a row lie in memory."""

from __future__ import annotations

from collections.abc import Sequence

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
