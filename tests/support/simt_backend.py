"""Pytest plugin (`-p support.simt_backend`): CPU tensors go through the simulated CUDA kernels.

VAE_FAST_SIMT names the shared object that `build_operators` makes of csrc/cuda; its operators
replace those of the CPU. The number of kernels that ran is reported at the end.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
import torch

# Defines the operators, and loads the kernels that are replaced.
from vae_fast.ops import likelihood

from .simt import SIMT, build

CSRC = SIMT.parents[1] / "csrc"
# The runtime's part of the device has another implementation here.
NOT_SIMULATED = ("device.cu", "stream.cpp")
VARIABLE = "VAE_FAST_SIMT"


def sources() -> list[Path]:
    """The CUDA operators and kernels, and the simulator's device."""
    cuda = sorted((CSRC / "cuda").glob("*.cu")) + sorted((CSRC / "cuda").glob("*.cpp"))
    shared = [CSRC / "tensors.cpp", CSRC / "loss.cpp", CSRC / "ops_cuda.cpp"]
    return [f for f in cuda if f.name not in NOT_SIMULATED] + shared + [SIMT / "device.cpp"]


def build_operators(out: Path) -> Path:
    """Compiles the operators for the CPU; minutes."""
    from torch.utils.cpp_extension import include_paths, library_paths

    flags = [f"-isystem{path}" for path in include_paths()]
    flags += ["-DTORCH_TARGET_VERSION=0x020b000000000000", "-DVAE_FAST_DISPATCH_KEY=CPU"]
    flags += ["-fvisibility=hidden", "-Wno-maybe-uninitialized"]  # packets that nobody reads
    flags += [f"-L{path}" for path in library_paths()] + ["-ltorch_cpu", "-lc10"]
    return build(sources(), out, shared=True, extra=flags)


if VARIABLE in os.environ:
    torch.ops.load_library(os.environ[VARIABLE])
    _library = ctypes.CDLL(os.environ[VARIABLE])
    _library.simulated_launches.restype = ctypes.c_int64
    likelihood.compiled_for_cpu = lambda: False  # what the CPU's operators alone take

    def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leaves out what has no CUDA kernels: the CPU's would run."""
        others = [item for item in items if "negative_binomial" in item.nodeid]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if "negative_binomial" not in item.nodeid]

    def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
        """One line: how many kernels were simulated."""
        terminalreporter.write_line(f"simulated launches: {_library.simulated_launches()}")
