"""The GPU tests keep to their device: tried on a pretended GPU, and the pretence itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.pretended import Devices

TESTS = Path(__file__).parent
TRIED = ["test_errors.py", "test_edges.py", "gpu/test_gpu_graphs.py", "gpu/test_gpu_streams.py"]


def test_mixed_devices_are_found() -> None:
    with Devices():
        there = torch.ones(3, device="cuda")
        assert there.is_cuda and not there.is_cpu and there.device.type == "cuda"
        assert (there * 2 + torch.ones(())).cpu().tolist() == [3.0] * 3
        for mixed in (lambda: there + torch.ones(3), lambda: torch.dot(torch.ones(3), there)):
            with pytest.raises(RuntimeError, match="on cuda and on cpu"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


@pytest.mark.slow
def test_gpu_tests_run_on_a_pretended_gpu() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "support.pretended", "-m", "gpu"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *(str(TESTS / name) for name in TRIED)],
        env=os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
