"""Fixtures of all tests: fresh random inputs, every available device and backend, poison."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.places import CPU, GPU, ON_CPU, ON_GPU, Place, missing
from torch import Tensor

import vae_fast as vf
from vae_fast.ops import extension

SEED = int(os.environ.get("VAE_FAST_TEST_SEED", random.SystemRandom().randrange(2**31)))
# Modules whose tests run on every device: tensors that they make lie there by default.
ON_EVERY_DEVICE = {
    f"test_{name}"
    for name in (
        "agreement",
        "autograd",
        "categorical",
        "compile",
        "counts",
        "determinism",
        "edges",
        "errors",
        "gradcheck",
        "noise",
        "properties",
        "transforms",
        "values",
    )
}
GPU_TESTS = Path(__file__).parent / "gpu"


def pytest_report_header(config: pytest.Config) -> str:
    return f"vae_fast: VAE_FAST_TEST_SEED={SEED}, kernels {extension.cpu_isa or 'missing'}"


def _places(metafunc: pytest.Metafunc) -> list[Place]:
    every_backend = "backend" in metafunc.fixturenames
    if metafunc.definition.path.parent == GPU_TESTS:
        once = metafunc.definition.get_closest_marker("once")
        return [GPU] if once else ON_GPU[every_backend]
    found = ON_CPU[every_backend]
    if metafunc.module.__name__ not in ON_EVERY_DEVICE:
        return found
    cpu_only = metafunc.definition.get_closest_marker("cpu_only")
    return found if cpu_only else found + ON_GPU[every_backend]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (places := _places(metafunc)) == [CPU]:
        return
    marks = {"cpu": (), "cuda": (pytest.mark.gpu,)}
    metafunc.parametrize(
        "place", [pytest.param(p, id=p.name, marks=marks[p.device]) for p in places], indirect=True
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips before any fixture runs: without a GPU there are thousands of these tests."""
    place = getattr(item, "callspec", None) and item.callspec.params.get("place")
    if place and (reason := missing(place)):
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Runs the test with tensors on one device and the backend that serves them."""
    place: Place = getattr(request, "param", CPU)
    if place == CPU:
        yield place
        return
    # Compiled CUDA kernels leave to Triton what they do not know.
    with vf.backend("auto" if place.backend == "cuda" else place.backend):
        if place.device == "cpu":
            yield place
            return
        for name, value in vars(request.module).items():
            if isinstance(value, Tensor) and value.is_cpu:
                monkeypatch.setattr(request.module, name, value.to(place.device))
        with torch.device(place.device):
            yield place


@pytest.fixture
def backend(place: Place) -> str:
    """Runs the test once with each backend."""
    return place.backend


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest, place: Place) -> None:
    """Fresh inputs in every session, the same for a test alone as in a whole run."""
    torch.manual_seed(SEED + sum(map(ord, request.node.nodeid)))


# glibc's mallopt parameter: fresh memory is filled with the complement of a byte, freed memory with
# the byte. Kernels allocate below torch.empty, where PyTorch's own filling does not reach.
_M_PERTURB = -6
POISON = -1.6947395e38  # four bytes 0xfe as float32


def set_poison(byte: int) -> bool:
    """Starts (or with 0 stops) the filling of fresh memory; False where the C library cannot."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_PERTURB, byte) == 1


@pytest.fixture
def poisoned(place: Place) -> Iterator[None]:
    """Fresh memory is full of huge numbers or NaN: what a kernel does not write shows."""
    if place.device == "cuda":
        # Kernels on a GPU get their memory from torch.empty, which then fills it with NaN.
        torch.use_deterministic_algorithms(True, warn_only=True)
        yield
        torch.use_deterministic_algorithms(False)
        return
    if not set_poison(1):
        pytest.skip("the C library has no mallopt(M_PERTURB)")
    yield
    set_poison(0)
