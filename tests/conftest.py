"""Fixtures of all tests: fresh random inputs, every available backend, quiet threads."""

from __future__ import annotations

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


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fresh memory is NaN: what a kernel does not write shows."""
    before = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.utils.deterministic.fill_uninitialized_memory = before
    torch.use_deterministic_algorithms(False)
