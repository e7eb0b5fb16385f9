"""What a result was measured on."""

from __future__ import annotations

import datetime
import platform
import subprocess
from pathlib import Path

import torch

import vae_fast
from vae_fast.ops import extension
from vae_fast.training.machine import cpu_name


def revision() -> str:
    """The git revision of the checkout, with -dirty where files differ; "unknown" without git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def describe() -> dict[str, str | int]:
    """Processor, threads, instruction set, versions, revision, date."""
    return {
        "processor": cpu_name(),
        "threads": torch.get_num_threads(),
        "instruction set": extension.cpu_isa or "none",
        "torch": torch.__version__,
        "vae_fast": vae_fast.__version__,
        "python": platform.python_version(),
        "revision": revision(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }
