"""The GPU's benchmark without a GPU: its cases, checks, rows, tables, plot and goals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vae_fast as vf

benchmarks = pytest.importorskip("benchmarks", reason="run from a checkout, not from a wheel")

from benchmarks import __main__ as program  # noqa: E402
from benchmarks import cuda, measure_cuda, plot, table, targets  # noqa: E402
from benchmarks.cases import cases  # noqa: E402
from benchmarks.measure_cuda import MODES, measure, rotation  # noqa: E402
from benchmarks.timing import on_this_thread  # noqa: E402

BY_NAME = {case.name: case for case in cases()}
MACHINE = {"gpu": "none", "driver": "1", "cuda": "13", "vae_fast": "1", "torch": "2"}
STANDS_FOR = {"cuda": "cpu", "triton": "reference"}


class Pretended(cuda.Cuda):
    """A machine that does the same work without a GPU."""

    name = "cpu"
    cache = 1 << 20  # type: ignore[assignment]
    clock = staticmethod(on_this_thread)  # type: ignore[assignment]

    def graph(self, steps: Sequence[cuda.Call]) -> cuda.Call:
        return lambda: [step() for step in steps]

    def launches(self, call: cuda.Call) -> int:
        call()
        return 3

    peak = launches

    def copy(self, size: int) -> cuda.Call:
        return super().copy(size >> 8)

    def release(self) -> None:
        pass

    def limits(self, seconds: float = 0.2) -> dict[str, float]:
        return {"copy bandwidth": 1e9}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """Our two backends of a GPU are the CPU's kernels and the reference."""
    choose, within = vf.set_backend, vf.backend
    monkeypatch.setattr(vf, "set_backend", lambda n: choose(STANDS_FOR.get(n, n)))
    monkeypatch.setattr(vf, "backend", lambda n: within(STANDS_FOR.get(n, n)))
    return Pretended()


def test_inputs_rotate_beyond_the_cache() -> None:
    floats = [torch.zeros(1 << 18)]  # 1 MiB
    assert rotation(floats, 60 << 20) == 8
    assert rotation(floats, 2 << 20) == 6
    assert rotation(floats, 1 << 10) == 2


@pytest.mark.parametrize("name", ["Bernoulli 128x784", "sample + KL 128x20"])
def test_rows_of_both_modes(device: Pretended, tmp_path: Path, name: str) -> None:
    rows, failures = measure(BY_NAME[name], 0.01, device, ["cuda", "triton"])
    assert not failures
    assert [row["mode"] for row in rows] == list(MODES)
    for row in rows:
        for phase in ("forward", "training"):
            assert list(row[phase]["seconds"]) == ["cuda", "triton", "eager", "compile"]
            assert ("launches" in row[phase]) == (row["mode"] == "launched")
    result = {"machine": MACHINE, "rows": rows}
    for mode in MODES:
        lines = table.lines(result, "training", mode)
        assert len(lines) == 3 and lines[2].startswith(f"| {name} |")
        assert len({line.count(" | ") for line in (lines[0], lines[2])}) == 1
        assert lines[1].count("---") == lines[0].count(" | ") + 1
    plot.draw(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_and_broken_variants_are_left_out(device: Pretended) -> None:
    case = BY_NAME["Bernoulli 128x784"]

    def wrong(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (case.eager(*inputs)[0] * 1.01,)

    def broken(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise RuntimeError("no such kernel\nand more")

    rows, failures = measure(replace(case, eager=case.eager, fused=wrong), 0.01, device, ["cuda"])
    assert not rows
    assert failures[0].startswith("Bernoulli 128x784: cuda, check: WrongResultError: ")

    def half_broken(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return broken() if vf.get_backend() == "reference" else case.fused(*inputs)

    rows, failures = measure(replace(case, fused=half_broken), 0.01, device, ["cuda", "triton"])
    assert failures == ["Bernoulli 128x784: triton, check: RuntimeError: no such kernel"]
    assert list(rows[0]["training"]["seconds"]) == ["cuda", "eager", "compile"]
    assert "failed" not in table.lines({"rows": rows})[2]


def test_a_wrong_replay_is_not_timed(device: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    def graph(steps: Sequence[cuda.Call]) -> Callable[[], None]:
        def replay() -> None:
            steps[0].__defaults__[0][0].grad = torch.zeros(128, 784)  # type: ignore[attr-defined]

        return replay

    monkeypatch.setattr(device, "graph", graph)
    case = BY_NAME["Bernoulli 128x784"]
    rows, failures = measure(case, 0.01, device, ["cuda"], ["training"])
    assert [row["mode"] for row in rows] == ["launched"]
    assert len(failures) == 3 and all("another gradient" in line for line in failures)


def test_program_writes_what_it_has(
    device: Pretended,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cuda, "Cuda", lambda: device)
    monkeypatch.setattr(measure_cuda, "available", lambda: {"cuda": "", "triton": "not there"})
    monkeypatch.setattr(program, "describe_gpu", lambda: MACHINE)
    monkeypatch.setattr(program, "has_gpu", lambda: True)
    arguments = ["--device", "cuda", "--quick", "--only", "128x", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments, "--budget", "0.001"])
    assert program.main() == 1  # a backend is missing
    stored: dict[str, Any] = json.loads((tmp_path / "gpu.json").read_text())
    assert stored["failures"] == ["backend triton: not there"]
    assert stored["rows"] and stored["not measured"]
    assert stored["machine"]["gpu"] == "none" and stored["limits"]
    assert (tmp_path / "gpu.png").exists()
    out = capsys.readouterr().out
    assert "FAILED  backend triton" in out and "not measured, the time was over" in out


def test_goals_of_a_gpu() -> None:
    part = {
        "seconds": {"cuda": 1.0, "triton": 1.2, "eager": 9.0, "compile": 1.2},
        "bytes": 90,
        "copy bandwidth": 100.0,
    }
    rows = [{"case": "loss 64Mi", "mode": "launched", "training": part}]
    goals = {
        goal: got >= least
        for goal, got, least in targets.evaluate({"machine": MACHINE, "rows": rows})
    }
    assert goals == {
        "loss 64Mi, launched, cuda against eager": True,
        "loss 64Mi, launched, triton against eager": False,
        "loss 64Mi, launched, cuda against compile": False,
        "loss 64Mi, launched, triton against compile": False,
        "loss 64Mi, cuda, share of copy bandwidth": True,
        "loss 64Mi, triton, share of copy bandwidth": False,
        "loss 64Mi, triton against cuda": False,
    }
