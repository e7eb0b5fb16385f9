"""compute-sanitizer over every kernel: memory errors and races, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import Place

PROGRAM = Path(__file__).parent / "sanitized.py"
SANITIZER = shutil.which("compute-sanitizer") or shutil.which(
    "compute-sanitizer", path="/usr/local/cuda/bin"
)
FOUND = 99  # exit code where the sanitizer reports something


def run(backend: str, *sanitizer: str) -> subprocess.CompletedProcess[str]:
    # Every tensor its own allocation: beyond its end lies no other tensor.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    return subprocess.run(
        [*sanitizer, sys.executable, str(PROGRAM), backend],
        env=environment,
        capture_output=True,
        text=True,
    )


def test_the_program_runs(place: Place) -> None:
    done = run(place.backend)
    assert (done.returncode, done.stdout) == (0, "finished\n"), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_sanitizer(place: Place, tool: str) -> None:
    if SANITIZER is None:
        pytest.skip("compute-sanitizer is not installed")
    done = run(place.backend, SANITIZER, "--tool", tool, "--error-exitcode", str(FOUND))
    report = done.stdout + done.stderr
    if "Device not supported" in report:
        pytest.skip("compute-sanitizer does not support this device")
    assert "finished" in done.stdout, report[-4000:]
    assert done.returncode == 0, report[-4000:]
