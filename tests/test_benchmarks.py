"""The benchmarks refuse wrong results, count the least traffic, and draw what was stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

benchmarks = pytest.importorskip("benchmarks", reason="run from a checkout, not from a wheel")

from benchmarks import plot, table, targets  # noqa: E402
from benchmarks.cases import cases  # noqa: E402
from benchmarks.measure import measure  # noqa: E402
from benchmarks.timing import WrongResultError, check  # noqa: E402

BY_NAME = {case.name: case for case in cases()}


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(cases())


@pytest.mark.parametrize(
    ("name", "forward", "training"),
    [
        ("Bernoulli 128x784", 8, 12),
        ("loss 128x784 bf16/u8", 3, 5),
        ("Gaussian 128x784", 12, 20),
    ],
)
def test_least_bytes_per_element(name: str, forward: int, training: int) -> None:
    case = BY_NAME[name]
    latent = 128 * 20 * 8 if name.startswith("loss") else 0
    assert case.forward_bytes == forward * 128 * 784 + latent
    assert case.training_bytes == training * 128 * 784 + 2 * latent


@pytest.mark.parametrize("name", [n for n in BY_NAME if "128x" in n])
def test_rivals_do_the_same_work(name: str) -> None:
    case = BY_NAME[name]
    check(case, case.inputs(), {"fused": case.fused, "eager": case.eager})


def test_wrong_result_is_not_timed() -> None:
    case = BY_NAME["Bernoulli 128x784"]

    def wrong_value(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (case.fused(*inputs)[0] * 1.001,)

    def wrong_gradient(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss = case.fused(*inputs)[0]
        return (loss.detach() + 0.5 * (loss - loss.detach()),)

    for function in (wrong_value, wrong_gradient):
        with pytest.raises(WrongResultError):
            check(case, case.inputs(), {"broken": function})


@pytest.mark.slow
def test_measured_table_plot_and_targets(tmp_path: Path) -> None:
    case = replace(BY_NAME["sample + KL 128x20"])
    result: dict[str, Any] = {
        "machine": {
            "vae_fast": "1",
            "torch": "2",
            "threads": 1,
            "processor": "some",
            "instruction set": "any",
        },
        "rows": [measure(case, 0.05)],
    }
    lines = table.lines(result)
    assert len(lines) == 3 and lines[2].startswith("| sample + KL 128x20 |")
    seconds = result["rows"][0]["training"]["seconds"]
    goals = dict((goal, got) for goal, got, _ in targets.evaluate(result))
    assert goals["sample + KL 128x20 against eager"] == seconds["eager"] / seconds["fused"]
    plot.draw(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_goals_are_judged_by_the_result() -> None:
    part = {"seconds": {"fused": 1.0, "eager": 6.5, "compile": 4.0}}
    rows = [{"case": "loss 128x784", "memory": "default", "training": part}]
    lines = targets.lines({"rows": rows})
    assert [line[:7] for line in lines] == ["reached", "missed "]
