"""Fixtures of all tests: fresh random inputs, every available backend, quiet threads."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Iterator

import pytest
import torch

import vae_fast as vf
from vae_fast.ops import extension

SEED = int(os.environ.get("VAE_FAST_TEST_SEED", random.SystemRandom().randrange(2**31)))
BACKENDS = ["cpu", "reference"]


def pytest_report_header(config: pytest.Config) -> str:
    return f"vae_fast: VAE_FAST_TEST_SEED={SEED}, kernels {extension.cpu_isa or 'missing'}"


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    """Fresh inputs in every session, the same for a test alone as in a whole run."""
    torch.manual_seed(SEED + sum(map(ord, request.node.nodeid)))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once with each backend."""
    if request.param == "cpu" and not extension.cpu_loaded():
        pytest.skip(f"no compiled kernels: {extension.cpu_missing}")
    with vf.backend(request.param):
        yield request.param


# glibc's mallopt parameter: fresh memory is filled with the complement of a byte, freed memory with
# the byte. Kernels allocate below torch.empty, where PyTorch's own filling does not reach.
_M_PERTURB = -6
POISON = -1.6947395e38  # four bytes 0xfe as float32


def set_poison(byte: int) -> bool:
    """Starts (or with 0 stops) the filling of fresh memory; False where the C library cannot."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_PERTURB, byte) == 1


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fresh memory is full of huge numbers: what a kernel does not write shows."""
    if not set_poison(1):
        pytest.skip("the C library has no mallopt(M_PERTURB)")
    yield
    set_poison(0)
