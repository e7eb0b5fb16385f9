"""What a result was measured on."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

import vae_fast
from vae_fast.ops import extension
from vae_fast.training.machine import cpu_name


def revision() -> str:
    """The git revision of the checkout, with -dirty where files differ; "unknown" without git.

    VAE_FAST_REVISION names it on a machine where the files are without their history.
    """
    if named := os.environ.get("VAE_FAST_REVISION"):
        return named
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


def driver() -> str:
    """The version of the GPU's driver."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.split("\n")[0].strip()


def describe_gpu() -> dict[str, str | int]:
    """GPU, driver, versions of CUDA and Triton."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory": properties.total_memory,
        "second-level cache": properties.L2_cache_size,
        "driver": driver(),
        "cuda": torch.version.cuda or "none",
        "triton": version_of("triton"),
    }


def version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


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
