"""The noise on a GPU: bit for bit the CPU's, whatever the shape, also beyond 2^34 elements."""

from __future__ import annotations

import pytest
import torch
from support.compare import assert_same_bits
from support.gpu import require_memory
from torch import Tensor

import vae_fast as vf
from vae_fast.reference.noise import normal

SEEDS = [0, 1, -1, 2**63 - 1, -(2**63), 123456789012345]
SHAPES = [(1, 1), (1, 3), (5, 7), (128, 20), (1, 1025), (64, 196_608), (65_536, 20), (4096, 1024)]


def on_cpu(shape: tuple[int, ...], seed: int, samples: int | None = None) -> Tensor:
    zero = torch.zeros(shape, device="cpu")
    with vf.backend("auto"):
        return vf.reparameterize(zero, zero, seed=seed, num_samples=samples)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_bits_equal_the_cpus(shape: tuple[int, int], seed: int) -> None:
    zero = torch.zeros(shape)
    assert_same_bits(vf.reparameterize(zero, zero, seed=seed).cpu(), on_cpu(shape, seed))
    z, _ = vf.reparameterize_kl(zero, zero, seed=seed)
    assert_same_bits(z.cpu(), on_cpu(shape, seed))


@pytest.mark.parametrize("shape", [(5, 7), (300, 20), (3, 40_001)])
def test_bits_of_several_samples_equal_the_cpus(shape: tuple[int, int]) -> None:
    zero = torch.zeros(shape)
    z = vf.reparameterize(zero, zero, seed=9, num_samples=3)
    assert_same_bits(z.cpu(), on_cpu(shape, 9, 3))


def test_bits_of_unaligned_memory_equal_the_cpus() -> None:
    for offset in (1, 2, 3):
        zero = torch.zeros(7 * 333 + offset)[offset:].view(7, 333)
        assert_same_bits(vf.reparameterize(zero, zero, seed=9).cpu(), on_cpu((7, 333), 9))


def test_backward_draws_the_same_noise_again() -> None:
    mu, logvar = torch.randn(129, 77), torch.randn(129, 77, requires_grad=True)
    z = vf.reparameterize(mu, logvar, seed=6)
    (grad,) = torch.autograd.grad(z.sum(), logvar)
    eps = on_cpu((129, 77), 6).to(mu.device)
    torch.testing.assert_close(grad, 0.5 * torch.exp(0.5 * logvar.detach()) * eps)


def test_elements_beyond_two_to_the_34() -> None:
    """The counter's high word: one row of 2^20 means, drawn 2^14 + 1 times."""
    require_memory(50)
    count, samples = 2**20, 2**14 + 1
    zero = torch.zeros(1, count, dtype=torch.bfloat16)
    z = vf.reparameterize(zero, zero, seed=3, num_samples=samples)
    seed = torch.tensor([3])
    for sample in (0, 2**11, 2**12 + 1, samples - 1):
        want = normal(seed, (count,), first=sample * count).bfloat16()
        assert_same_bits(z[sample, 0], want, f"sample {sample}")
