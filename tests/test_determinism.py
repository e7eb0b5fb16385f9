"""The same bits in every run, for any number of threads; close results on every instruction set."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.cases import CASES, Case
from support.compare import assert_same_bits
from torch import Tensor

import vae_fast as vf
from vae_fast.ops import extension


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _results(case: Case, inputs: dict[str, Tensor], reduction: str) -> list[Tensor]:
    leaves = [t for t in inputs.values() if t.requires_grad]
    value = case.call(inputs, reduction)
    return [value, *torch.autograd.grad(value.sum(), leaves)]


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
@pytest.mark.parametrize("shape", [(37, (3, 333), 50), (2, (40001,), 17000)], ids=["rows", "long"])
def test_runs_and_threads(
    threads: None, case: Case, shape: tuple[int, tuple[int, ...], int]
) -> None:
    inputs = case.make(*shape)
    for reduction in ("sample", "sum"):
        torch.set_num_threads(1)
        want = _results(case, inputs, reduction)
        for count in (1, 2, 2, 3, 5):
            torch.set_num_threads(count)
            for got, first in zip(_results(case, inputs, reduction), want, strict=True):
                assert_same_bits(got, first)


@pytest.mark.parametrize("shape", [(301, 20), (3, 40001)])
def test_sampling_runs_and_threads(threads: None, shape: tuple[int, int]) -> None:
    mu, logvar = (torch.randn(shape, requires_grad=True) for _ in range(2))

    def run(count: int) -> list[Tensor]:
        torch.set_num_threads(count)
        z, kl = vf.reparameterize_kl(mu, logvar, seed=7, num_samples=2)
        return [z, kl, *torch.autograd.grad(z.square().sum() + kl.sum(), (mu, logvar))]

    want = run(1)
    for count in (1, 2, 2, 3, 5):
        for got, first in zip(run(count), want, strict=True):
            assert_same_bits(got, first)


WORK = """
import pickle, sys
import torch
import vae_fast as vf
torch.manual_seed(0)
x, t = torch.randn(9, 777, requires_grad=True), torch.rand(9, 777)
mu, logvar = (torch.randn(9, 30, requires_grad=True) for _ in range(2))
v = torch.randn(9, 777, requires_grad=True)
counts = torch.poisson(3 * t) * (t < 0.3)
loss = vf.vae_loss(x, t, mu, logvar) + vf.gaussian_nll(x, t, v)
loss = loss + vf.zero_inflated_negative_binomial_nll(x.exp(), counts, v[0].exp(), v)
grads = torch.autograd.grad(loss, (x, v, mu, logvar))
results = [loss.detach().tolist()] + [g.tolist() for g in grads]
sys.stdout.buffer.write(pickle.dumps((vf.ops.extension.cpu_isa, results)))
"""


def _run_with(isa: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"VAE_FAST_ISA": isa}
    return subprocess.run([sys.executable, "-c", WORK], env=environment, capture_output=True)


@pytest.mark.cpu_only
@pytest.mark.skipif(not extension.cpu_loaded(), reason="no compiled kernels")
def test_instruction_sets_agree() -> None:
    results = {}
    for isa in ("baseline", "avx2", "avx512"):
        done = _run_with(isa)
        if b"this processor lacks" in done.stderr:
            continue
        name, values = pickle.loads(done.stdout)
        assert name == isa
        results[isa] = [torch.tensor(v) for v in values]
    assert "baseline" in results
    for values in results.values():
        for got, want in zip(values, results["baseline"], strict=True):
            # Fused multiply-adds round differently: a few units in the last place of O(1) terms.
            torch.testing.assert_close(got, want, rtol=2e-6, atol=2e-6)


@pytest.mark.cpu_only
@pytest.mark.skipif(not extension.cpu_loaded(), reason="no compiled kernels")
def test_wrong_instruction_set_is_a_clear_error() -> None:
    done = _run_with("mmx")
    assert done.returncode != 0
    last = done.stderr.decode().strip().splitlines()[-1]
    assert last == "ValueError: VAE_FAST_ISA=mmx: expected one of baseline, avx2, avx512"


@pytest.mark.cpu_only
def test_import_is_silent_and_starts_no_cuda(tmp_path: Path) -> None:
    code = "import vae_fast, torch; assert not torch.cuda.is_initialized()"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
