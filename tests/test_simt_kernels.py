"""The CUDA kernels on the CPU without PyTorch: with sanitizers, in several orders of threads."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.simt import MEMORY, RACES, SCHEDULES, SIMT, build, needs_compiler, run

pytestmark = needs_compiler

CUDA = SIMT.parents[1] / "csrc" / "cuda"


def sources() -> list[Path]:
    kernels = [f for f in sorted(CUDA.glob("*.cu")) if f.name != "device.cu"]
    return [*kernels, SIMT / "kernels.cpp"]


@pytest.fixture(scope="module")
def memory_checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kernels") / "memory"
    return build(sources(), out, sanitizer=MEMORY, extra=["-Wno-maybe-uninitialized"])


@pytest.fixture(scope="module")
def race_checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kernels") / "races"
    return build(sources(), out, sanitizer=RACES, extra=["-Wno-maybe-uninitialized", "-Wno-tsan"])


def seed() -> str:
    return str(random.SystemRandom().randrange(2**31))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_values_and_memory(memory_checked: Path, schedule: str) -> None:
    number = seed()
    what = [] if schedule == "forward" else ["few"]
    done = run([memory_checked, number, *what], sanitizer=MEMORY, schedule=schedule, timeout=600)
    assert done.returncode == 0, f"seed {number}: {done.stderr[-4000:]}"
    assert int(done.stdout.split()[0]) > 100_000


@pytest.mark.parametrize("schedule", ["forward", "reverse", "random:3", "starve:1"])
def test_races(race_checked: Path, schedule: str) -> None:
    number = seed()
    done = run([race_checked, number, "few"], sanitizer=RACES, schedule=schedule, timeout=900)
    assert done.returncode == 0, f"seed {number}: {done.stderr[-4000:]}"


def test_a_wrong_value_is_found(memory_checked: Path) -> None:
    done = run([memory_checked, seed(), "spoil"], sanitizer=MEMORY)
    assert done.returncode == 1
    assert "expected" in done.stderr
