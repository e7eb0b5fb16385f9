"""Fair timing: variants interleaved in one run, warm, medians; a wrong result is not timed."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .cases import Case, Function

BLOCK = 2e-3  # seconds of calls of one variant before the next has its turn


class WrongResultError(AssertionError):
    """A variant does not compute what the others do."""


def step(function: Function, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> None:
    """Forward and backward, with fresh gradients of the leaves."""
    for t in inputs:
        t.grad = None
    outputs = [o for o in function(*inputs) if o.requires_grad]
    torch.autograd.backward(outputs, grads)


class _Engine(torch.autograd.Function):
    """A node that computes nothing; its gradients are memory that nobody has touched."""

    @staticmethod
    def forward(ctx: Any, outputs: Sequence[Tensor], *leaves: Tensor) -> Any:
        ctx.leaves = leaves
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        # Fresh ones, which the engine keeps: those that somebody else holds it would copy.
        return (None, *(torch.empty_like(t) for t in ctx.leaves))


def engine(function: Function, inputs: Sequence[Tensor]) -> Function:
    """What autograd itself takes for a call: as many leaves and outputs, nothing computed."""
    outputs = [o.detach() for o in function(*inputs) if o.requires_grad]
    leaves = [t for t in inputs if t.requires_grad]

    def call(*inputs: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = _Engine.apply(outputs, *leaves)
        return found

    return call


def check(case: Case, inputs: Sequence[Tensor], variants: dict[str, Function]) -> None:
    """Raises unless all variants agree in value and gradients with eager in float64."""
    large = sum(t.numel() for t in inputs) > 1 << 24

    def exact(t: Tensor) -> Tensor:
        # Huge inputs are compared in float32: the sums agree to 1e-5 all the same.
        wide = t.detach() if large or not t.is_floating_point() else t.detach().double()
        return wide.requires_grad_(t.requires_grad)

    random = case.function.startswith("sample")
    truth_inputs = [exact(t) for t in inputs]
    truth = case.eager(*truth_inputs)
    leaves = [t for t in inputs if t.requires_grad]
    for name, function in variants.items():
        outputs = function(*inputs)
        for index, (got, want) in enumerate(zip(outputs, truth, strict=True)):
            if random and index == 0:  # other noise: only shapes can agree
                if got.shape != want.shape:
                    raise WrongResultError(f"{case.name}: {name} has shape {got.shape}")
            elif not torch.allclose(got.double(), want.double(), rtol=1e-4, atol=1e-5):
                raise WrongResultError(f"{case.name}: {name} gives {got}, expected {want}")
        if random:
            continue
        grads = torch.autograd.grad(outputs[0].sum(), leaves)
        wants = torch.autograd.grad(
            case.eager(*truth_inputs)[0].sum(), [t for t in truth_inputs if t.requires_grad]
        )
        for leaf, got, want in zip(leaves, grads, wants, strict=True):
            scale = want.abs().max().item()
            tolerance = (1e-4 if leaf.dtype == torch.float32 else 1e-2) * scale
            if not torch.allclose(got.double(), want.double(), rtol=0, atol=tolerance):
                raise WrongResultError(f"{case.name}: {name} has a wrong gradient")


def on_this_thread(call: Callable[[], None], count: int) -> float:
    """Seconds that `count` calls take which do all their work before they return."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start


def interleaved(
    variants: dict[str, Callable[[], None]],
    seconds: float,
    least: int = 5,
    clock: Callable[[Callable[[], None], int], float] = on_this_thread,
    prepare: Callable[[str], None] = lambda name: None,
) -> dict[str, list[float]]:
    """Seconds of one call of each variant, many samples, the variants taking turns.

    A sample is the mean over a block of calls: alternating after every call would measure caches
    and threads that the other variant has just used.

    Args:
        variants: name and call of each.
        seconds: to spend on all of them together.
        least: samples of each.
        clock: seconds of so many calls.
        prepare: is called with the name before each block of a variant.
    """
    calls = {}
    for name, call in variants.items():
        prepare(name)
        for _ in range(3):
            call()
        calls[name] = max(1, int(BLOCK / max(clock(call, 1), 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in variants}
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        rounds = 0
        while time.perf_counter() < end or rounds < least:
            for name, call in variants.items():
                prepare(name)
                samples[name].append(clock(call, calls[name]) / calls[name])
            rounds += 1
    finally:
        if collecting:
            gc.enable()
    return samples


def quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(samples, n=4)
    return low, middle, high


def copy_bandwidth(count: int) -> Callable[[], None]:
    """A copy of `count` float32 into memory already touched: 8 bytes an element."""
    source, destination = torch.ones(count), torch.zeros(count)

    def call() -> None:
        destination.copy_(source)

    return call
