"""The reference models: shapes, gradients, and every density against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

import vae_fast as vf
from vae_fast.nets import (
    VAE,
    Architecture,
    Autoencoder,
    CategoricalVAE,
    DenoisingAutoencoder,
    FlowVAE,
    Model,
    SparseAutoencoder,
    Variational,
)
from vae_fast.nets.autoencoder import sparsity_kl
from vae_fast.nets.flow import InverseAutoregressive, Planar

SHAPE = (1, 8, 12)
FEATURES = 96
LATENT = 3
BATCH = 5
MODELS = {
    "vae": VAE,
    "flow-iaf": lambda a: FlowVAE(a, "iaf", 2),
    "flow-planar": lambda a: FlowVAE(a, "planar", 2),
    "categorical": lambda a: CategoricalVAE(a, 4),
    "ae": Autoencoder,
    "denoising": DenoisingAutoencoder,
    "dropout": lambda a: DenoisingAutoencoder(a, "dropout", 0.4),
    "sparse": SparseAutoencoder,
}
VARIATIONAL = ("vae", "flow-iaf", "flow-planar", "categorical")


def architecture(**settings: object) -> Architecture:
    return Architecture(**({"shape": SHAPE, "latent": LATENT, "hidden": 16} | settings))


def seed() -> Tensor:
    return torch.randint(2**62, (1,))


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize(
    "likelihood", ["bernoulli", "gaussian", "gaussian-shared", "gaussian-pixel"]
)
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients(name: str, classes: int, likelihood: str, network: str) -> None:
    a = architecture(network=network, likelihood=likelihood, classes=classes, activation="tanh")
    model = MODELS[name](a)
    pixels = torch.randint(0, 256, (BATCH, FEATURES), dtype=torch.uint8)
    labels = torch.randint(0, classes, (BATCH,)) if classes else None
    out = model(pixels / 255, labels, seed())
    loss = model.loss(out, pixels, beta=0.5)
    assert loss.loss.shape == loss.recon.shape == loss.kl.shape == ()
    assert loss.loss.item() == pytest.approx(loss.recon.item() + 0.5 * loss.kl.item(), rel=1e-5)
    loss.loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name
    code = model.code(pixels / 255, labels)
    assert code.shape == (BATCH, model.code_size)
    images = model.expected(code, labels)
    assert images.shape == (BATCH, FEATURES)
    assert images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("name", VARIATIONAL)
def test_monte_carlo_samples(name: str, network: str) -> None:
    """L samples are as good as L passes: the mean over many of either is the same number."""
    a = architecture(network=network, classes=3)
    model = MODELS[name](a)
    pixels = torch.randint(0, 256, (BATCH, FEATURES), dtype=torch.uint8)
    labels = torch.randint(0, 3, (BATCH,))
    samples = 400
    with torch.no_grad():
        out = model(pixels / 255, labels, seed(), samples)
        assert isinstance(out.params, Tensor) and out.params.shape == (samples, BATCH, FEATURES)
        together = model.loss(out, pixels)
        alone = [model.loss(model(pixels / 255, labels, seed()), pixels) for _ in range(samples)]
    losses = torch.stack([one.loss for one in alone])
    # Each mean has the standard error s / sqrt(400); five of those of their difference.
    tolerance = 5 * math.sqrt(2 / samples) * losses.std().item()
    assert together.loss.item() == pytest.approx(losses.mean().item(), abs=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_noise_is_the_seeds(name: str) -> None:
    model = MODELS[name](architecture())
    x = torch.rand(BATCH, FEATURES)
    key = seed()
    first, second, third = model(x, None, key), model(x, None, key), model(x, None, key + 1)
    assert torch.equal(first.params, second.params)
    assert torch.equal(first.params, third.params) == (name in ("ae", "sparse"))


@pytest.mark.parametrize("name", VARIATIONAL)
def test_labels_matter_and_are_needed(name: str) -> None:
    model = MODELS[name](architecture(classes=3))
    x, key = torch.rand(BATCH, FEATURES), seed()
    zeros = torch.zeros(BATCH, dtype=torch.int64)
    z = model.code(x, zeros)
    assert not torch.equal(z, model.code(x, zeros + 1))
    assert not torch.equal(model.expected(z, zeros), model.expected(z, zeros + 1))
    with pytest.raises(ValueError, match="labels: got None"):
        model(x, None, key)


@pytest.mark.parametrize("name", VARIATIONAL)
def test_prior(name: str) -> None:
    model = MODELS[name](architecture())
    z = model.prior(1000, torch.Generator().manual_seed(0))
    assert z.shape == (1000, model.code_size)
    if name == "categorical":
        assert (z.unflatten(1, (LATENT, -1)).sum(2) == 1).all()
    else:
        # Of 3000 standard normal numbers.
        assert abs(z.mean()) < 5 / math.sqrt(3000)
        assert abs(z.var() - 1) < 5 * math.sqrt(2 / 3000)


@pytest.mark.parametrize("name", VARIATIONAL)
def test_draws_have_the_ratio_of_a_density(name: str) -> None:
    """E_q[p(z)/q(z|x)] is 1 for any pair of densities with the same support; a wrong normalising
    constant or log-determinant moves it."""
    torch.manual_seed(3)
    model = MODELS[name](architecture()).double()
    with torch.no_grad():
        posterior = model.posterior(torch.rand(1, FEATURES).double())
        # A posterior close to the prior keeps the estimate's variance small.
        posterior = tuple(part.expand(20_000, *part.shape[1:]) for part in posterior)
        ratio = model.draw(posterior, 5)[1].exp()
    assert ratio.mean().item() == pytest.approx(1, abs=5 * ratio.std().item() / math.sqrt(20_000))


@pytest.mark.parametrize("name", VARIATIONAL)
def test_kl_is_the_expected_log_ratio(name: str) -> None:
    torch.manual_seed(4)
    model = MODELS[name](architecture()).double()
    count = 20_000
    with torch.no_grad():
        x = torch.rand(1, FEATURES).double()
        posterior = model.posterior(x)
        many = tuple(part.expand(count, *part.shape[1:]) for part in posterior)
        ratio = -model.draw(many, 6)[1]
        out = model(x.expand(count, -1), None, seed())
        kl = out.kl
        assert kl is not None
    error = 5 * math.sqrt((ratio.var() + kl.var()).item() / count)
    assert kl.mean().item() == pytest.approx(ratio.mean().item(), abs=error)
    units = model.kl_of_units(posterior)
    if name.startswith("flow"):
        assert units is None
    else:
        assert units is not None and units.shape == (1, LATENT)
        assert units.sum().item() == pytest.approx(kl.mean().item(), rel=1e-9)


@pytest.mark.parametrize("kind", [Planar, InverseAutoregressive])
def test_flow_determinants(kind: type[Planar] | type[InverseAutoregressive]) -> None:
    latent, hidden = 4, 6
    flow = kind(latent, hidden).double()
    for parameter in flow.parameters():  # a new flow is close to the identity
        torch.nn.init.normal_(parameter, std=0.8)
    z, seen = torch.randn(7, latent).double(), torch.randn(7, hidden).double()
    moved, log_det = flow(z, seen)
    assert moved.shape == z.shape
    for row in range(7):
        jacobian = torch.autograd.functional.jacobian(
            lambda point, row=row: flow(point[None], seen[row : row + 1])[0][0], z[row]
        )
        assert log_det[row].item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item())
        if kind is InverseAutoregressive:
            # In the order of the inputs: outputs are reversed.
            assert (jacobian.flip(0).triu(1) == 0).all()
            assert (jacobian.flip(0).tril(-1) != 0).any()
    # Leading dimensions, as of Monte Carlo samples.
    both, determinants = flow(torch.stack((z, z)), seen)
    assert torch.allclose(both[1], moved) and torch.allclose(determinants[0], log_det)


@pytest.mark.parametrize("latent", [1, 2])
def test_flows_of_few_dimensions(latent: int) -> None:
    for kind in (Planar, InverseAutoregressive):
        flow = kind(latent, 6)
        moved, log_det = flow(torch.randn(5, latent), torch.randn(5, 6))
        assert moved.shape == (5, latent) and log_det.shape == (5,)
        assert moved.isfinite().all() and log_det.isfinite().all()


def test_sparsity_kl() -> None:
    activations = torch.rand(50, 7, dtype=torch.float64).float()
    mean = activations.double().mean(0)
    want = kl_divergence(Bernoulli(torch.tensor(0.05).double()), Bernoulli(mean)).sum()
    # Float32 arithmetic over seven units of about 1 nat.
    assert sparsity_kl(activations, 0.05).item() == pytest.approx(want.item(), rel=1e-5)
    exact = torch.full((4, 3), 0.25)
    assert sparsity_kl(exact, 0.25).item() == pytest.approx(0, abs=1e-6)
    for saturated in (torch.zeros(4, 3), torch.ones(4, 3)):
        saturated.requires_grad_()
        sparsity_kl(saturated, 0.05).backward()
        assert saturated.grad is not None and saturated.grad.isfinite().all()


def test_sparse_penalty_is_weighted_by_beta() -> None:
    model = SparseAutoencoder(architecture(), 0.1)
    pixels = torch.randint(0, 256, (BATCH, FEATURES), dtype=torch.uint8)
    out = model(pixels / 255)
    mean, total = (model.loss(out, pixels, 3.0, reduction=r) for r in ("batchmean", "sum"))
    want = sparsity_kl(model.code(pixels / 255), 0.1)
    assert mean.kl.item() == pytest.approx(want.item(), rel=1e-6)
    assert mean.loss.item() == pytest.approx((mean.recon + 3 * mean.kl).item(), rel=1e-6)
    assert total.loss.item() == pytest.approx(BATCH * mean.loss.item(), rel=1e-6)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_autoencoder_loss_is_the_usual_one(likelihood: str) -> None:
    model = Autoencoder(architecture(likelihood=likelihood))
    x = torch.rand(BATCH, FEATURES)
    out = model(x)
    assert isinstance(out.params, Tensor)
    if likelihood == "bernoulli":
        want = torch.nn.functional.binary_cross_entropy_with_logits(
            out.params.double(), x.double(), reduction="sum"
        )
    else:
        want = 0.5 * (out.params.double() - x.double()).square().sum()
    loss = model.loss(out, x)
    assert loss.loss.item() == pytest.approx(want.item() / BATCH, rel=1e-5)
    assert loss.kl == 0


def test_corruption() -> None:
    x = torch.rand(100, FEATURES)
    count = x.numel()
    noise = DenoisingAutoencoder(architecture(), "gaussian", 0.2).observe(x, seed()) - x
    assert abs(noise.mean()) < 5 * 0.2 / math.sqrt(count)
    assert noise.std().item() == pytest.approx(0.2, rel=5 / math.sqrt(2 * count))
    ones = torch.ones(100, FEATURES)
    dropped = DenoisingAutoencoder(architecture(), "dropout", 0.2).observe(ones, seed())
    assert ((dropped == 0) | (dropped == 1)).all()
    share = (dropped == 0).float().mean().item()
    assert share == pytest.approx(0.2, abs=5 * math.sqrt(0.2 * 0.8 / count))


def test_gaussian_pixels_match_torch() -> None:
    for likelihood in ("gaussian-shared", "gaussian-pixel"):
        model = VAE(architecture(likelihood=likelihood)).double()
        x = torch.rand(BATCH, FEATURES).double()
        z = torch.randn(BATCH, LATENT).double()
        if likelihood == "gaussian-shared":
            torch.nn.init.constant_(model.likelihood.log_scale, -1.3)
        params = model.decode(z)
        mean, logvar = params
        want = -Normal(mean, (0.5 * logvar).exp()).log_prob(x).sum(1)
        got = model.likelihood.nll(params, x, "sample")
        assert torch.allclose(got, want, rtol=1e-12)


def test_temperature_cools_to_its_floor() -> None:
    model = CategoricalVAE(architecture(), 4)
    cooled = []
    for step in (0, 1000, 100_000):
        model.anneal(step)
        cooled.append(model.temperature.item())
    assert cooled[0] == 1 and cooled[1] == pytest.approx(math.exp(-0.1)) and cooled[2] == 0.5
    assert "temperature" in model.state_dict()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: architecture(network="transformer"), "network: got 'transformer'"),
        (lambda: architecture(activation="gelu"), "activation: got 'gelu'"),
        (lambda: architecture(network="conv", shape=(1, 6, 8)), "6 x 8 pixels"),
        (lambda: VAE(architecture(likelihood="poisson")), "likelihood: got 'poisson'"),
        (lambda: FlowVAE(architecture(), "radial"), "flow: got 'radial'"),
        (lambda: FlowVAE(architecture(), "iaf", 0), "steps: got 0"),
        (lambda: CategoricalVAE(architecture(), 1), "categories: got 1"),
        (lambda: DenoisingAutoencoder(architecture(), "blur"), "corruption: got 'blur'"),
    ],
)
def test_errors(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("name", VARIATIONAL)
def test_fused_equals_reference(name: str) -> None:
    model: Model = MODELS[name](architecture())
    assert isinstance(model, Variational)
    pixels = torch.randint(0, 256, (BATCH, FEATURES), dtype=torch.uint8)
    key = seed()
    losses, gradients = [], []
    for backend in ("auto", "reference"):
        with vf.backend(backend):
            model.zero_grad()
            loss = model.loss(model(pixels / 255, None, key), pixels).loss
            loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]).clone())
    # Float32 sums over 96 pixels; a gradient is a sum over up to 5 * 96 of them.
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    difference = (gradients[0] - gradients[1]).abs().max()
    assert difference < 1e-5 * gradients[1].abs().max()
