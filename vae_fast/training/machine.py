"""What a measured number depends on: processor, threads, versions. No names, no paths."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

import vae_fast as vf


def cpu_name() -> str:
    """The processor's model name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Processor, thread count and, on a GPU, its name."""
    machine: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }
    if device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return machine


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {
        "vae_fast": vf.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
