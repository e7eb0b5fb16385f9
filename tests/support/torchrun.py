"""Several processes on the CPU, started by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys

PROCESSES = 2


def torchrun(*command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launcher, "--nproc-per-node", str(PROCESSES), *command],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
