"""Numbers of any kind where a number is taken: beta, tau, seeds, counts of samples; and bits."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import vae_fast as vf
from vae_fast.reference.noise import normal

X, T, KL = torch.randn(3, 4), torch.rand(3, 4), torch.rand(3)
MU = torch.randn(3, 2)
HALVES = [np.linspace(0, 1, 5)[2], np.float32(0.5), Fraction(1, 2), 0.5]


def elbo(beta: float) -> Tensor:
    return vf.elbo_loss(X, T, kl=KL, beta=beta).loss


def gumbel(tau: float) -> Tensor:
    return vf.gumbel_softmax_kl(X, tau, seed=3)[0]


@pytest.mark.parametrize("function", [elbo, gumbel])
@pytest.mark.parametrize("half", HALVES, ids=lambda h: type(h).__name__)
def test_any_real_number(function, half: float) -> None:  # type: ignore[no-untyped-def]
    torch.testing.assert_close(function(half), function(0.5))


@pytest.mark.parametrize("function", [elbo, gumbel])
@pytest.mark.parametrize("half", [h for h in HALVES if not isinstance(h, Fraction)], ids=repr)
def test_any_real_number_compiled(function, half: float) -> None:  # type: ignore[no-untyped-def]
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(half), function(0.5))


def test_any_whole_number() -> None:
    want = vf.reparameterize(MU, MU, seed=5, num_samples=2)
    assert torch.equal(vf.reparameterize(MU, MU, seed=np.int64(5), num_samples=np.int32(2)), want)


def test_seeds_beyond_int64_are_their_bits() -> None:
    zero = torch.zeros(1, 8)
    for seed in (2**63 + 11, 2**64 - 1):
        key = torch.tensor([seed - 2**64])
        assert torch.equal(vf.reparameterize(zero, zero, seed=seed)[0], normal(key, (8,)))
    vf.reparameterize(zero, zero, seed=torch.initial_seed())
    with pytest.raises(ValueError, match="seed"):
        vf.reparameterize(zero, zero, seed=2**64)


@pytest.mark.parametrize("first", [0.0, 0.25, 1.0])
def test_a_schedule_of_beta_compiles_no_more_than_plain_pytorch(first: float) -> None:
    def loss(kl: Tensor, beta: float) -> Tensor:
        return vf.elbo_loss(X, T, kl=kl, beta=beta).loss

    def plain(kl: Tensor, beta: float) -> Tensor:
        return X.sum() + kl.mean() * beta

    frames = []
    for function in (loss, plain):
        torch._dynamo.reset()
        counter = CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(function, fullgraph=True, backend=counter)
        for beta in (first, 0.5, 0.75, 1.0, 0.0, 2.0, 1.0):
            torch.testing.assert_close(compiled(KL, beta), function(KL, beta))
        frames.append(counter.frame_count)
    assert frames[0] <= frames[1]


@pytest.mark.parametrize("tau", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_gives_nan_where_it_cannot_be_seen(tau: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        gumbel(tau)
    assert vf.gumbel_softmax_kl(X, torch.tensor(tau), seed=3)[0].isnan().all()
    torch._dynamo.reset()
    compiled = torch.compile(gumbel, fullgraph=True, backend="aot_eager", dynamic=True)
    assert compiled(tau).isnan().all()


def test_a_tensor_beta_is_part_of_the_module() -> None:
    module = vf.ELBOLoss(beta=torch.tensor(0.5))
    assert list(module.state_dict()) == ["beta"]
    module.beta.fill_(2.0)
    torch.testing.assert_close(module(X, T, kl=KL).loss, elbo(2.0))
    assert module.double().beta.dtype == torch.float64
    learned = vf.ELBOLoss(beta=torch.nn.Parameter(torch.tensor(0.5)))
    learned(X, T, kl=KL).loss.backward()
    torch.testing.assert_close(learned.beta.grad, KL.mean())


BITS = """
import warnings, torch, vae_fast as vf
x = torch.zeros(2, 3)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        vf.bernoulli_nll(x, torch.ones(2, 3, dtype=torch.uint8))
    assert [w.filename for w in caught if "bool" in str(w.message)] == ["<string>"]
"""


def test_bytes_that_look_like_bits_are_warned_of_once() -> None:
    done = subprocess.run([sys.executable, "-c", BITS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
