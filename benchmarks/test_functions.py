"""The same cases under pytest-benchmark: `pytest benchmarks`, for comparing two revisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from .cases import SIZES, Case, cases
from .timing import step

CASES = [case for case in cases() if case.size != list(SIZES)[-1]]


@pytest.mark.parametrize("variant", ["fused", "eager", "compile"])
@pytest.mark.parametrize("phase", ["forward", "training"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_speed(benchmark: Callable[..., Any], case: Case, phase: str, variant: str) -> None:
    torch._dynamo.reset()
    function = case.fused if variant == "fused" else case.eager
    if variant == "compile":
        function = torch.compile(function, fullgraph=True, dynamic=False)
    inputs = case.inputs()
    if phase == "training":
        grads = [torch.ones_like(o) for o in function(*inputs) if o.requires_grad]
        step(function, inputs, grads)
        benchmark(step, function, inputs, grads)
    else:
        with torch.no_grad():
            function(*inputs)
            benchmark(function, *inputs)
