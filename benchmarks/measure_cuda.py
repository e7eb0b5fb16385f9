"""Runs cases on a GPU: launched one by one from Python, and as CUDA graphs.

A variant that raises or computes something wrong is reported and left out; the others are timed all
the same. Inputs rotate among several sets, so that large cases do not find them in the cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

import vae_fast as vf

from .cases import Case, Function
from .cuda import MIB, Call, Cuda
from .measure import Row, describe_case, summary
from .timing import WrongResultError, check, interleaved, step

LAUNCHED, GRAPH = "launched", "graph"
MODES = (LAUNCHED, GRAPH)
COPIED = 256 * MIB  # the copy that bandwidths are compared with: too large for any cache
STEPS_IN_GRAPH = 8  # at least, so that a step's share of the replay's own cost is small


def available() -> dict[str, str]:
    """Our backends on a GPU, and why each is not available: empty if it is."""
    reasons = {}
    for name in ("cuda", "triton"):
        try:
            with vf.backend(name):
                reasons[name] = ""
        except (RuntimeError, ValueError) as error:
            reasons[name] = str(error)
    return reasons


def rotation(inputs: Sequence[Tensor], cache: int) -> int:
    """How many sets of inputs make three times the size of the cache; 2 to 8 of them."""
    size = sum(t.numel() * t.element_size() for t in inputs)
    return min(8, max(2, -(-3 * cache // size)))


class Measurement:
    """One case: its variants, its sets of inputs, and what went wrong."""

    def __init__(self, case: Case, device: Cuda, backends: Sequence[str]) -> None:
        torch.manual_seed(0)
        torch._dynamo.reset()
        self.case, self.device, self.ours = case, device, list(backends)
        self.failures: list[str] = []
        with torch.device(device.name):
            first = case.inputs()
            others = (case.inputs() for _ in range(rotation(first, device.cache) - 1))
            self.sets = [first, *others]
        compiled = torch.compile(case.eager, fullgraph=True, dynamic=False)
        variants = dict.fromkeys(backends, case.fused) | {"eager": case.eager, "compile": compiled}
        self.variants: dict[str, Function] = {}
        for name, function in variants.items():
            with self._reported(name, "check"), self._backend(name):
                check(case, first, {name: function})
                self.variants[name] = function

    @contextmanager
    def _backend(self, name: str) -> Iterator[None]:
        with vf.backend(name if name in self.ours else "auto"):
            yield

    @contextmanager
    def _reported(self, name: str, what: str) -> Iterator[None]:
        """Turns an exception into a line of the report."""
        try:
            yield
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            kind = type(error).__name__
            self.failures.append(f"{self.case.name}: {name}, {what}: {kind}: {first}")

    def _steps(self, name: str, phase: str) -> list[Call]:
        """A call for each set of inputs."""
        function = self.variants[name]
        if phase == "forward":

            def make(inputs: Sequence[Tensor]) -> Call:
                def forward() -> None:
                    with torch.no_grad():
                        function(*inputs)

                return forward

            return [make(inputs) for inputs in self.sets]
        grads = [torch.ones_like(o) for o in function(*self.sets[0]) if o.requires_grad]
        return [lambda i=inputs: step(function, i, grads) for inputs in self.sets]  # type: ignore[misc]

    def _replayed(self, name: str, phase: str, steps: list[Call]) -> tuple[Call, int]:
        """The steps as one graph, and how many they are, once it has proved right."""
        rounds = -(-STEPS_IN_GRAPH // len(steps))
        replay = self.device.graph(steps * rounds)
        if phase == "training" and not self.case.function.startswith("sample"):
            replay()
            leaves = [t for t in self.sets[0] if t.requires_grad]
            got = [None if t.grad is None else t.grad.clone() for t in leaves]
            steps[0]()
            for leaf, grad in zip(leaves, got, strict=True):
                if grad is None or leaf.grad is None or not torch.allclose(leaf.grad, grad):
                    raise WrongResultError("a replay gives another gradient")
        return replay, rounds * len(steps)

    def row(self, mode: str, phases: Sequence[str], seconds: float) -> Row | None:
        """Numbers of all phases in one mode; None where none of our backends works."""
        row = describe_case(self.case) | {"mode": mode}
        for phase in phases:
            calls: dict[str, Call] = {"copy": self.device.copy(COPIED)}
            counts = {"copy": 1}
            facts: dict[str, dict[str, int]] = {"launches": {}, "peak": {}}
            for name in self.variants:
                with self._reported(name, f"{mode} {phase}"), self._backend(name):
                    steps = self._steps(name, phase)
                    if mode == GRAPH:
                        calls[name], counts[name] = self._replayed(name, phase, steps)
                        continue
                    facts["launches"][name] = self.device.launches(steps[0])
                    facts["peak"][name] = self.device.peak(steps[0])
                    calls[name], counts[name] = rotating(steps), 1
            ours = next((name for name in self.ours if name in calls), None)
            if ours is None:
                return None
            samples = interleaved(
                calls, seconds, clock=self.device.clock, prepare=self._choose_backend
            )
            vf.set_backend("auto")
            for name, count in counts.items():
                samples[name] = [value / count for value in samples[name]]
            moved = self.case.forward_bytes if phase == "forward" else self.case.training_bytes
            row[phase] = summary(samples, moved, 2 * COPIED, ours) | {
                name: values for name, values in facts.items() if values
            }
        return row

    def _choose_backend(self, name: str) -> None:
        vf.set_backend(name if name in self.ours else "auto")


def rotating(steps: Sequence[Call]) -> Callable[[], None]:
    """A call that takes the next step each time."""
    following = itertools.cycle(steps)

    def call() -> None:
        next(following)()

    return call


def measure(
    case: Case,
    seconds: float,
    device: Cuda,
    backends: Sequence[str],
    phases: Sequence[str] = ("forward", "training"),
) -> tuple[list[Row], list[str]]:
    """Rows of a case, one for each mode, and what went wrong with which variant."""
    measurement = Measurement(case, device, backends)
    rows: list[Any] = [measurement.row(mode, phases, seconds) for mode in MODES]
    for inputs in measurement.sets:
        for t in inputs:
            t.grad = None
    device.release()
    return [row for row in rows if row], measurement.failures
