"""How many kernels a call launches and how much memory it takes: what the fusion is for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.gpu import launched, peak
from torch import Tensor

import vae_fast as vf

# Few, the README's, few long rows split over blocks, many short rows sharing one.
SHAPES = [(128, 784, 20), (64, 196_608, 128), (65_536, 20, 20)]
IDS = ["128x784", "64x196608", "65536x20"]


def leaves(*shapes: tuple[int, int]) -> list[Tensor]:
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(("rows", "cols", "latent"), SHAPES, ids=IDS)
def test_each_forward_is_one_launch(rows: int, cols: int, latent: int) -> None:
    x, mu, logvar = leaves((rows, cols), (rows, latent), (rows, latent))
    t, kl, seed = torch.rand(rows, cols), torch.rand(rows), torch.tensor([1])
    calls: dict[str, Callable[[], object]] = {
        "sample and KL": lambda: vf.reparameterize_kl(mu, logvar, seed=seed),
        "ELBO": lambda: vf.elbo_loss(x, t, kl=kl, beta=0.5),
        "likelihood": lambda: vf.bernoulli_nll(x, t),
        "KL": lambda: vf.gaussian_kl(mu, logvar),
    }
    for name, call in calls.items():
        assert len(names := launched(call)) == 1, (name, names)
        with torch.no_grad():
            assert len(names := launched(call)) == 1, (name, "no_grad", names)


def fused(x: Tensor, t: Tensor, mu: Tensor, logvar: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    z, kl = vf.reparameterize_kl(mu, logvar, seed=seed)
    return vf.elbo_loss(x, t, kl=kl).loss, z


def eager(x: Tensor, t: Tensor, mu: Tensor, logvar: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    std = torch.exp(0.5 * logvar)
    z = mu + std * torch.randn_like(std)
    recon = F.binary_cross_entropy_with_logits(x, t, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return (recon + kl) / len(x), z


@pytest.mark.parametrize(("rows", "cols", "latent"), SHAPES, ids=IDS)
def test_the_whole_loss_is_four_launches(
    capsys: pytest.CaptureFixture[str], rows: int, cols: int, latent: int
) -> None:
    x, mu, logvar = inputs = leaves((rows, cols), (rows, latent), (rows, latent))
    t, seed = torch.rand(rows, cols), torch.tensor([1])
    grads = (torch.ones(()), torch.randn(rows, latent))

    def step(loss: Callable[..., tuple[Tensor, Tensor]]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(x, t, mu, logvar, seed), inputs, grads)

    ours, plain = launched(step(fused)), launched(step(eager))
    with capsys.disabled():
        print(f"\n{rows}x{cols}: {len(ours)} launches, eager {len(plain)}: {', '.join(ours)}")
    assert len(ours) <= 4, ours
    assert len(plain) > 2 * len(ours), plain


def test_a_drawn_seed_is_one_more() -> None:
    mu, logvar = leaves((128, 20), (128, 20))
    names = launched(lambda: vf.reparameterize_kl(mu, logvar))
    assert len(names) == 2, names


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training_needs_the_gradient_and_nothing_else(dtype: torch.dtype) -> None:
    x = torch.randn(4096, 4096).to(dtype).requires_grad_()
    t = torch.rand(4096, 4096).to(dtype)
    small = 4 << 20  # sums of rows and what the allocator rounds up

    def step() -> None:
        torch.autograd.grad(vf.bernoulli_nll(x, t), x)

    assert peak(step) <= x.numel() * x.element_size() + small
    with torch.no_grad():
        assert peak(lambda: vf.bernoulli_nll(x, t)) <= small


def test_bytes_are_not_converted_beforehand() -> None:
    x = torch.randn(4096, 4096).bfloat16()
    t = torch.randint(0, 256, (4096, 4096), dtype=torch.uint8)
    assert peak(lambda: vf.bernoulli_nll(x, t)) <= 4 << 20
