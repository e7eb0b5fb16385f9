"""A GPU as a machine to measure on: its clock, CUDA graphs, launches, memory, and its limits."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

Call = Callable[[], Any]
MIB = 1 << 20


class Cuda:
    """The current CUDA device. The tests put a machine without a GPU in its place."""

    name = "cuda"

    @property
    def cache(self) -> int:
        """Bytes of the second-level cache."""
        return int(torch.cuda.get_device_properties(0).L2_cache_size)

    def clock(self, call: Call, count: int) -> float:
        """Seconds from the first call to the end of all their work on the device.

        The device waits for the host where launching takes longer than the work, so this is what a
        training loop sees: the greater of the two.
        """
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(count):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def graph(self, steps: Sequence[Call]) -> Call:
        """A call that replays all steps as one CUDA graph."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for step in steps:
                for _ in range(3):
                    step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for step in steps:
                step()
        return graph.replay

    def launches(self, call: Call) -> int:
        """Kernels, copies and fills that a warm call launches."""
        from torch.profiler import ProfilerActivity, profile

        call()
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
            call()
            torch.cuda.synchronize()
        return sum(
            event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
            for event in recorded.events()
        )

    def peak(self, call: Call) -> int:
        """Bytes that a warm call allocates at most beyond what was there before."""
        call()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def copy(self, size: int) -> Call:
        """A copy that reads `size` bytes and writes as many."""
        source = torch.ones(size, dtype=torch.uint8, device=self.name)
        destination = torch.zeros_like(source)
        return lambda: destination.copy_(source)

    def release(self) -> None:
        """Gives back what graphs and results of the last case still hold."""
        gc.collect()
        torch.cuda.empty_cache()

    def limits(self, seconds: float = 0.2) -> dict[str, float]:
        """What no kernel can beat: the copy bandwidth and the price of an empty launch."""
        copied = 1024 * MIB

        def launch() -> None:
            torch.cuda._sleep(0)

        return {
            "copy bandwidth": 2 * copied / self._median(self.copy(copied), seconds),
            "seconds of an empty kernel, launched": self._median(launch, seconds),
            "seconds of an empty kernel, in a graph": (
                self._median(self.graph([launch] * 100), seconds) / 100
            ),
        }

    def _median(self, call: Call, seconds: float) -> float:
        for _ in range(3):
            call()
        count = max(1, int(2e-3 / max(self.clock(call, 1), 1e-7)))
        samples = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(samples) < 5:
            samples.append(self.clock(call, count) / count)
        return sorted(samples)[len(samples) // 2]
