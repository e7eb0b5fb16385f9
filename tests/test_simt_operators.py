"""The operators' own tests, with CPU tensors going through the simulated CUDA kernels."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.simt import needs_compiler
from support.simt_backend import VARIABLE, build_operators

pytestmark = needs_compiler

TESTS = Path(__file__).parent
EVERYTHING = [
    *("agreement", "autograd", "categorical", "determinism", "edges", "errors", "gradcheck"),
    *("noise", "properties", "transforms", "values"),
]
# What depends on the order of threads and blocks: sums of every kind of row, and their gradients.
SUMS = ["values", "categorical", "-k", "lengths or short_rows or shapes or (layouts and sample)"]
Run = Callable[..., str]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_operators(tmp_path_factory.mktemp("simt") / "operators.so")


@pytest.fixture
def run(library: Path) -> Run:
    """Runs test modules on the simulator in a process of their own; returns what was printed."""

    def call(names: list[str], schedule: str) -> str:
        modules = [n if n.startswith("-") or " " in n else f"{TESTS}/test_{n}.py" for n in names]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "support.simt_backend"]
        command += ["-p", "no:cacheprovider", "-m", "not gpu and not slow", *modules]
        environment = os.environ | {
            VARIABLE: str(library),
            "SIMT_SCHEDULE": schedule,
            "PYTHONPATH": str(TESTS),
        }
        done = subprocess.run(
            command, cwd=TESTS.parent, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    return call


def counts(output: str) -> tuple[int, int]:
    """(tests that passed, kernels that ran)."""
    passed = re.search(r"(\d+) passed", output)
    launches = re.search(r"simulated launches: (\d+)", output)
    assert passed and launches, output[-2000:]
    return int(passed[1]), int(launches[1])


def test_all_operator_tests(run: Run) -> None:
    passed, launches = counts(run(EVERYTHING, "forward"))
    assert passed > 2000
    assert launches > 5000


@pytest.mark.parametrize("schedule", ["reverse", "random", "starve:0", "starve:7"])
def test_sums_in_other_orders_of_threads(run: Run, schedule: str) -> None:
    if schedule == "random":
        schedule = f"random:{random.SystemRandom().randrange(2**31)}"
        print(f"SIMT_SCHEDULE={schedule}")
    passed, launches = counts(run(SUMS, schedule))
    assert passed > 100
    assert launches > 500


REGRAD = """
import torch
import support.simt_backend
import vae_fast.ops.likelihood

def regrad(dtype, grad):
    x = torch.randn(6, 50).to(dtype)
    t, mu, lv, kl = torch.rand(6, 50), torch.randn(6, 4), torch.randn(6, 4), torch.rand(6)
    for logvar in (torch.randn(()), torch.randn(50)):
        for latent, wants in (((None, mu, lv), 3 | 3 << 9), ((kl, None, None), 3 | 1 << 8)):
            args = ([x, logvar], t, None, None, None, *latent, None, 0.7, 1, [0.0], 2, wants)
            want = torch.ops.vae_fast.elbo_backward(torch.tensor(grad), *args)
            got = [torch.full_like(w, float("nan")) for w in want]
            torch.ops.vae_fast.elbo_regrad(torch.tensor(grad), got, *args)
            for g, w in zip(got, want, strict=True):
                if grad == 1.0:
                    assert g.isnan().all()  # untouched: the forward has written it
                else:
                    assert torch.equal(g, w)  # in float16 some of them are infinite

for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
    for grad in (1.0, 0.0, 65536.0):
        regrad(dtype, grad)
assert support.simt_backend._library.simulated_launches() == 4 * 3 * 2 * 2 * 2
print("fine")
"""


def test_gradients_are_made_again_unless_the_incoming_one_is_one(library: Path) -> None:
    environment = os.environ | {VARIABLE: str(library), "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        [sys.executable, "-c", REGRAD], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "fine", done.stderr
