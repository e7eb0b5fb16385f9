"""The simulator of CUDA kernels passes correct ones and finds planted faults."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.simt import MEMORY, RACES, SCHEDULES, SIMT, build, needs_compiler, preload, run

pytestmark = needs_compiler

SOURCES = [SIMT / "faults" / "main.cpp", SIMT / "faults" / "primitives.cu"]
SANITIZERS = [None, MEMORY, RACES]

# Fault, what the program is built with, the schedule, and what finds it says. A fault with two rows
# can be found in two ways.
FINDINGS = [
    ("missing_barrier", None, "forward", "wrong values"),
    ("missing_barrier", RACES, "forward", "data race"),
    ("reused_buffer", None, "starve:0", "wrong values"),
    ("reused_buffer", RACES, "forward", "data race"),
    ("overlapping_writes", None, "reverse", "wrong values"),
    ("overlapping_writes", RACES, "forward", "data race"),
    ("unordered_shuffle", RACES, "forward", "data race"),
    ("missing_fence", RACES, "forward", "data race"),
    ("tail", MEMORY, "forward", "heap-buffer-overflow"),
    ("shared_bounds", MEMORY, "forward", "index 128 out of bounds"),
    ("unaligned_vector", MEMORY, "forward", "misaligned address"),
    ("divergent_barrier", None, "forward", "deadlock"),
    ("shuffle_mask", None, "forward", "deadlock"),
    ("mixed_primitives", None, "forward", "mismatch"),
    ("uninitialised_shared", None, "forward", "wrong values"),
    ("empty_grid", None, "forward", "invalid configuration argument"),
]


class Programs:
    """The faults program, built with each sanitizer when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.built: dict[str | None, Path] = {}

    def __getitem__(self, sanitizer: str | None) -> Path:
        if sanitizer not in self.built:
            out = self.folder / f"faults-{sanitizer or 'plain'}"
            self.built[sanitizer] = build(SOURCES, out, sanitizer=sanitizer)
        return self.built[sanitizer]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("simt"))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_correct_kernels_pass(programs: Programs, sanitizer: str | None, schedule: str) -> None:
    result = run([programs[sanitizer], "correct"], schedule=schedule, sanitizer=sanitizer)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(("fault", "sanitizer", "schedule", "finding"), FINDINGS)
def test_planted_fault_is_found(
    programs: Programs, fault: str, sanitizer: str | None, schedule: str, finding: str
) -> None:
    result = run([programs[sanitizer], fault], schedule=schedule, sanitizer=sanitizer)
    assert result.returncode != 0
    assert finding in result.stderr


def test_every_fault_is_planted() -> None:
    files = {path.stem for path in SIMT.glob("faults/*.cu")}
    assert {fault for fault, *_ in FINDINGS} == files - {"primitives"}


def test_race_report_names_both_lines(programs: Programs) -> None:
    report = run([programs[RACES], "missing_barrier"], sanitizer=RACES).stderr
    source = (SIMT / "faults" / "missing_barrier.cu").read_text().splitlines()
    for code in ("tile[threadIdx.x] = in", "out[threadIdx.x] = tile"):
        line = next(number for number, text in enumerate(source, 1) if code in text)
        assert f"missing_barrier.cu:{line} " in report
    assert "CUDA thread" in report


def test_deadlock_report_says_who_waits_where(programs: Programs) -> None:
    report = run([programs[None], "divergent_barrier"]).stderr
    assert "block 0" in report
    assert "threads 0-99 wait in __syncthreads" in report
    assert "threads 100-127 have returned" in report


def test_launches_at_the_limits(programs: Programs) -> None:
    result = run([programs[None], "limits"])
    assert (result.returncode, result.stderr) == (0, "")


def order(programs: Programs, schedule: str) -> list[str]:
    """The warps of three blocks of 96 threads as they start: "block.thread"."""
    return run([programs[None], "order"], schedule=schedule).stdout.split()


def test_schedules_order_threads_and_blocks(programs: Programs) -> None:
    forward = [f"{block}.{thread}" for block in range(3) for thread in (0, 32, 64)]
    assert order(programs, "forward") == forward
    assert order(programs, "reverse") == forward[::-1]
    starved = [f"{block}.{thread}" for block in range(3) for thread in (0, 64, 32)]
    assert order(programs, "starve:1") == starved
    shuffled = [order(programs, f"random:{seed}") for seed in range(4)]
    assert all(sorted(each) == forward for each in shuffled)
    assert len({tuple(each) for each in shuffled}) > 1
    assert order(programs, "random:3") == shuffled[3]


@pytest.mark.parametrize(
    "schedule",
    ["", "back", "forward:1", "random", "random:", "random:x", "random:-1", "starve:32", "warp:1"],
)
def test_bad_schedule_is_an_error(programs: Programs, schedule: str) -> None:
    result = run([programs[None], "correct"], schedule=schedule)
    assert result.returncode != 0
    assert "SIMT_SCHEDULE" in result.stderr


LOAD_AND_RUN = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).run(sys.argv[2].encode()))"


@pytest.mark.parametrize(
    ("sanitizer", "fault", "finding"),
    [(None, "reused_buffer", "wrong values"), (MEMORY, "tail", "heap-buffer-overflow")],
)
def test_library_in_python(tmp_path: Path, sanitizer: str | None, fault: str, finding: str) -> None:
    library = build(
        SOURCES, tmp_path / "faults.so", sanitizer=sanitizer, shared=True, extra=["-O0"]
    )
    environment = preload("libasan.so") if sanitizer else {}
    for schedule in ("starve:0", "random:1"):
        command = [sys.executable, "-c", LOAD_AND_RUN, library, "correct"]
        result = run(command, schedule=schedule, environment=environment)
        assert (result.returncode, result.stderr) == (0, "")
    command = [sys.executable, "-c", LOAD_AND_RUN, library, fault]
    result = run(command, schedule="starve:0", environment=environment)
    assert result.returncode != 0
    assert finding in result.stderr
