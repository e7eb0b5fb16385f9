"""Sizes that only a GPU reaches: more than 2^31 elements in memory; the same bits every time."""

from __future__ import annotations

import pytest
import torch
from support.compare import assert_same_bits
from support.gpu import require_memory
from torch import Tensor

import vae_fast as vf

# Few long rows, split over many blocks; many short ones, sharing a block; odd sizes of each.
SHAPES = [(64, 196_608), (65_536, 20), (3, 2**22 + 3), (100_003, 7), (1, 2**24 + 1), (4096, 784)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_five_runs_give_the_same_bits(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x, mu, logvar = (torch.randn(shape).to(dtype).requires_grad_() for _ in range(3))
    t, seed = torch.rand(shape), torch.tensor([4])

    def run() -> list[Tensor]:
        z, kl = vf.reparameterize_kl(mu, logvar, seed=seed)
        out = vf.elbo_loss(x, t, kl=kl)
        direct = vf.vae_loss(x, t, mu, logvar, reduction="sum")
        sizes = vf.gaussian_nll(x, t, logvar, reduction="sample")
        grads = torch.autograd.grad((out.loss, z, direct, sizes.sum()), (x, mu, logvar), (*ones,))
        return [out.loss, out.recon, out.kl, z, direct, sizes, *grads]

    ones = [torch.ones(()), torch.ones(shape, dtype=dtype), torch.ones(()), torch.ones(())]
    want = run()
    for _ in range(5):
        for got, first in zip(run(), want, strict=True):
            assert_same_bits(got, first)


@pytest.mark.slow
def test_more_than_two_to_the_31_elements_in_memory() -> None:
    require_memory(24)
    rows, cols = 2**11 + 1, 2**20
    x = torch.empty(rows, cols, dtype=torch.bfloat16).normal_().requires_grad_()
    t = torch.empty(rows, cols, dtype=torch.uint8).random_(0, 256)
    loss = vf.bernoulli_nll(x, t, reduction="sample")
    assert loss.isfinite().all()
    (grad,) = torch.autograd.grad(loss, x, torch.ones(rows))
    (whole,) = torch.autograd.grad(vf.bernoulli_nll(x, t, reduction="sum"), x)
    for row in (0, 1, 2**10, rows - 2, rows - 1):  # the last one lies beyond 2^31 elements
        alone = x.detach()[row : row + 1].clone().requires_grad_()
        one = vf.bernoulli_nll(alone, t[row : row + 1].clone(), reduction="sample")
        torch.testing.assert_close(loss[row : row + 1], one, rtol=1e-6, atol=0)
        (want,) = torch.autograd.grad(one, alone, torch.ones(1))
        assert_same_bits(grad[row : row + 1], want)
        assert_same_bits(whole[row : row + 1], want)


@pytest.mark.slow
def test_more_than_two_to_the_31_rows_times_columns_of_the_latent() -> None:
    require_memory(40)
    rows, cols = 2**21 + 1, 2**10
    mu = torch.empty(rows, cols, dtype=torch.bfloat16).normal_().requires_grad_()
    logvar = torch.empty(rows, cols, dtype=torch.bfloat16).normal_()
    z, kl = vf.reparameterize_kl(mu, logvar, seed=8)
    last = slice(rows - 3, rows)
    want = vf.gaussian_kl(mu[last].clone(), logvar[last].clone(), reduction="sample")
    torch.testing.assert_close(kl[last], want, rtol=1e-6, atol=0)
    (grad,) = torch.autograd.grad(kl, mu, torch.ones(rows))
    assert_same_bits(grad[last], mu.detach()[last])
    assert z[last].isfinite().all()
