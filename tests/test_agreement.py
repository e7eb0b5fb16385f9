"""A short training where the fused and the reference losses stay together step by step."""

from __future__ import annotations

import pytest
import torch
from support.places import Place
from torch import Tensor, nn

import vae_fast as vf


def train(backend: str, likelihood: str, steps: int = 30) -> list[float]:
    torch.manual_seed(11)
    encoder, decoder = nn.Linear(36, 2 * 4), nn.Linear(4, 36)
    log_scale = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), log_scale], 1e-2)
    data = torch.randint(0, 256, (64, 36), dtype=torch.uint8)
    losses = []
    with vf.backend(backend):
        for _ in range(steps):
            mu, logvar = encoder(data / 255).chunk(2, 1)
            z, kl = vf.reparameterize_kl(mu, logvar)
            decoded: Tensor = decoder(z)
            params = decoded if likelihood == "bernoulli" else (decoded, log_scale)
            out = vf.elbo_loss(params, data, kl=kl, beta=0.5, likelihood=likelihood)
            optimizer.zero_grad()
            out.loss.backward()
            optimizer.step()
            losses.append(out.loss.item())
    return losses


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_losses_stay_together(place: Place, likelihood: str) -> None:
    fused, plain = train(place.kernels, likelihood), train("reference", likelihood)
    assert fused[-1] < 0.95 * fused[0]
    # Adam divides gradients by their size, so float32 differences grow, slowly, with the steps.
    for step, (a, b) in enumerate(zip(fused, plain, strict=True)):
        assert a == pytest.approx(b, rel=1e-6 * (1 + step)), step
