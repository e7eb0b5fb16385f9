"""`scripts/gpu_check.sh` as far as it goes without a GPU: its stages, in their order."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "gpu_check.sh"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="run from a checkout, not from a wheel")


def test_stages(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT), "--dry-run", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    stages = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert list(stages)[:2] == ["machine", "build"]
    assert {"noise", "gpu", "benchmark", "cuda", "triton", "reference", "sanitizer"} <= set(stages)
    assert not list(tmp_path.iterdir())
    for name in ("gpu", "cuda", "triton"):
        assert "pytest -m gpu" in stages[name] and " -x" not in stages[name]


def test_needs_a_directory() -> None:
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 2 and "usage" in done.stderr
