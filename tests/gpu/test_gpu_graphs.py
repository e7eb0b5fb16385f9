"""CUDA graphs: every replay draws fresh noise and follows the inputs; nothing waits for the host.

That a kernel in a graph reads what was written before its replay also proves that it was launched
on the current stream: capture records no other.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.cases import CALL_IDS, CALLS, CASES, Case
from support.compare import assert_same_bits
from support.gpu import captured
from torch import Tensor

import vae_fast as vf
from vae_fast.reference.noise import normal


def test_every_replay_draws_fresh_noise() -> None:
    zero = torch.zeros(33, 20)
    graph, z = captured(lambda: vf.reparameterize(zero, zero))
    draws = []
    for _ in range(4):
        graph.replay()
        draws.append(z.clone())
    for i, draw in enumerate(draws):
        assert 0.8 < draw.std() < 1.2
        assert not any(torch.equal(draw, other) for other in draws[:i])


def test_replays_follow_the_generator() -> None:
    zero = torch.zeros(33, 20)
    own = torch.Generator("cuda")
    graph, both = captured(
        lambda: (vf.reparameterize(zero, zero), vf.reparameterize(zero, zero, generator=own)), own
    )
    for index, seed in ((0, torch.manual_seed), (1, own.manual_seed)):
        draws = []
        for _ in range(2):
            seed(17)
            graph.replay()
            draws.append(both[index].clone())
            graph.replay()
            assert not torch.equal(both[index], draws[-1])
        assert torch.equal(*draws)


def test_the_backward_of_a_replay_draws_its_noise() -> None:
    mu, logvar = (torch.randn(65, 33, requires_grad=True) for _ in range(2))
    one = torch.ones(65, 33)

    def step() -> tuple[Tensor, ...]:
        seed = torch.randint(2**63 - 1, (1,))
        z = vf.reparameterize(mu, logvar, seed=seed)
        return seed, z, *torch.autograd.grad(z, (mu, logvar), one)

    graph, (seed, z, grad_mu, grad_logvar) = captured(step)
    seeds = set()
    for _ in range(3):
        graph.replay()
        seeds.add(int(seed))
        spread = torch.exp(0.5 * logvar.detach()) * normal(seed, (65, 33))
        torch.testing.assert_close(z.detach(), mu.detach() + spread)
        torch.testing.assert_close(grad_logvar, 0.5 * spread)
        assert torch.equal(grad_mu, one)
    assert len(seeds) == 3


@pytest.mark.parametrize("incoming", [1.0, 3.0])
@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_replays_follow_overwritten_inputs(case: Case, incoming: float) -> None:
    inputs = case.make(batch=37, event=(3, 111), latent=21)
    leaves = [t for t in inputs.values() if t.requires_grad]
    grad = torch.full((), incoming)

    def step() -> tuple[Tensor, ...]:
        loss = case.call(inputs, "batchmean")
        return loss.detach(), *torch.autograd.grad(loss, leaves, grad)

    graph, results = captured(step)
    for _ in range(2):
        with torch.no_grad():
            for name, fresh in case.make(batch=37, event=(3, 111), latent=21).items():
                inputs[name].copy_(fresh)
        graph.replay()
        for got, want in zip(results, step(), strict=True):
            assert_same_bits(got, want)


def test_a_training_step_as_a_graph() -> None:
    """The README's three lines with their optimiser in one graph: the loss falls."""
    torch.manual_seed(0)
    encoder, decoder = torch.nn.Linear(784, 40), torch.nn.Linear(20, 784)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-2, capturable=True)
    data = (torch.rand(128, 784) < 0.2).float()

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        mu, logvar = encoder(data).chunk(2, 1)
        z, kl = vf.reparameterize_kl(mu, logvar)
        out = vf.elbo_loss(decoder(z), data, kl=kl)
        out.loss.backward()
        optimizer.step()
        return out.loss.detach()

    graph, loss = captured(step)
    losses = []
    for _ in range(60):
        graph.replay()
        losses.append(loss.clone())
    values = torch.stack(losses).tolist()
    assert values[-1] < 0.9 * values[0], values
    assert len(set(values)) == 60


@pytest.fixture
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("case", "reduction"), CALLS, ids=CALL_IDS)
def test_no_call_waits_for_the_gpu(case: Case, reduction: str, waiting_is_an_error: None) -> None:
    inputs = case.make()
    leaves = [t for t in inputs.values() if t.requires_grad]
    result = case.call(inputs, reduction)
    one = torch.ones_like(result)
    torch.autograd.grad(result, leaves, one, retain_graph=True)
    torch.autograd.grad(result, leaves, 3 * one)
    with torch.no_grad():
        case.call(inputs, reduction)


def test_no_training_step_waits_for_the_gpu(waiting_is_an_error: None) -> None:
    mu, logvar, x = (torch.randn(64, 20, requires_grad=True) for _ in range(3))
    z, kl = vf.reparameterize_kl(mu, logvar)
    out = vf.elbo_loss(x * z, torch.rand(64, 20), kl=kl, beta=0.5)
    out.loss.backward()
    vf.reparameterize(mu, logvar, seed=torch.ones(1, dtype=torch.int64), num_samples=2).sum()
