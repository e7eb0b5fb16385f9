"""Training on a GPU: the same bits twice, half precision with a gradient scaler, compilation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.compare import assert_same_bits
from torch import Tensor, nn

import vae_fast as vf


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 40))
        self.decoder = nn.Sequential(nn.Linear(20, 200), nn.ReLU(), nn.Linear(200, 784))

    def forward(self, x: Tensor, seed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, 1)
        return self.decoder(vf.reparameterize(mu, logvar, seed=seed)), mu, logvar


def data(rows: int = 64) -> Tensor:
    return (torch.rand(rows, 784) < 0.2).float()


def fused(model: VAE, x: Tensor, seed: Tensor | None = None) -> Tensor:
    logits, mu, logvar = model(x, seed)
    return vf.vae_loss(logits, x, mu, logvar)


def plain(model: VAE, x: Tensor, seed: Tensor | None = None) -> Tensor:
    logits, mu, logvar = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in model(x, seed))
    recon = F.binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="sum")
    return (recon - 0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp())) / len(x)


def trained(steps: int = 40) -> tuple[list[Tensor], list[float]]:
    torch.manual_seed(5)
    model, x = VAE(), data()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(steps):
        loss = fused(model, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return [p.detach() for p in model.parameters()], torch.stack(losses).tolist()


def test_a_model_trained_twice_has_the_same_bits() -> None:
    (first, losses), (second, again) = trained(), trained()
    assert losses == again
    assert losses[-1] < 0.9 * losses[0]
    for a, b in zip(first, second, strict=True):
        assert_same_bits(a, b)


def relative_error(got: list[Tensor], want: list[Tensor]) -> float:
    pairs = list(zip(got, want, strict=True))
    difference = sum((a.double() - b.double()).square().sum() for a, b in pairs)
    return float((difference / sum(b.double().square().sum() for _, b in pairs)).sqrt())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_and_gradient_scaler(dtype: torch.dtype) -> None:
    """An incoming gradient of 65536, and gradients as good as eager PyTorch's against float64."""
    model, x, seed = VAE(), data(), torch.tensor([3])
    parameters = list(model.parameters())

    def scaled(loss: Callable[..., Tensor]) -> list[Tensor]:
        scaler = torch.amp.GradScaler("cuda", init_scale=65536.0)
        optimizer = torch.optim.SGD(parameters, 0.0)
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype):
            value = loss(model, x, seed)
        assert value.dtype == torch.float32
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        grads = [p.grad.clone() for p in parameters if p.grad is not None]
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 65536.0, "infinite gradients"
        return grads

    ours, eagers = scaled(fused), scaled(plain)
    model.double()
    truth = list(torch.autograd.grad(plain(model, x.double(), seed), list(model.parameters())))
    error = relative_error(ours, truth)
    assert error < 2 * relative_error(eagers, truth) + 1e-4
    assert error < 0.02


def test_scaled_training_falls() -> None:
    model, x = VAE(), data()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    scaler = torch.amp.GradScaler("cuda")
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.float16):
            loss = fused(model, x)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_training_step(mode: str) -> None:
    """One graph; the same gradients for a given seed, fresh noise otherwise, in CUDA graphs too."""
    torch._dynamo.reset()
    model, x = VAE(), data()
    parameters = list(model.parameters())
    compiled = torch.compile(fused, fullgraph=True, mode=mode)
    for number in range(3):
        seed = torch.tensor([number])
        want = torch.autograd.grad(fused(model, x, seed), parameters)
        torch.compiler.cudagraph_mark_step_begin()
        got = torch.autograd.grad(compiled(model, x, seed), parameters)
        assert relative_error([g.clone() for g in got], list(want)) < 1e-5
    losses = set()
    for _ in range(5):
        torch.compiler.cudagraph_mark_step_begin()
        losses.add(compiled(model, x).item())
    assert len(losses) == 5
    torch._dynamo.reset()
