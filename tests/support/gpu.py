"""What the GPU tests share: capture of CUDA graphs, names of launches, memory of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch

Result = TypeVar("Result")


def captured(
    call: Callable[[], Result], *generators: torch.Generator
) -> tuple[torch.cuda.CUDAGraph, Result]:
    """The call in a graph, and what it returns: memory that every replay writes again.

    Args:
        call: run three times on a side stream first, as CUDA graphs want it.
        generators: those that the call draws from, beside the default one.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        result = call()
    return graph, result


def launched(call: Callable[[], Any]) -> list[str]:
    """Names of the kernels, copies and fills that a warm call launches."""
    from torch.profiler import ProfilerActivity, profile

    for _ in range(2):
        call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        call()
        torch.cuda.synchronize()
    return [
        event.name
        for event in recorded.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
    ]


def peak(call: Callable[[], Any]) -> int:
    """Bytes that a warm call allocates at most beyond what was there before."""
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def require_memory(gigabytes: float) -> None:
    """Skips the test where the GPU has less free memory."""
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    if free < gigabytes * 1e9:
        pytest.skip(f"needs {gigabytes:g} GB of GPU memory, {free / 1e9:.0f} GB are free")
