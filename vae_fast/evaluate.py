"""What a trained VAE is worth: the ELBO and its parts, the use of its latent dimensions, and the
importance-sampled likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

import vae_fast as vf
from vae_fast.nets import MLPVAE
from vae_fast.training.batches import generator, to_input
from vae_fast.training.progress import EpochBar
from vae_fast.training.trained import Trained

BATCH = 1000
# A unit is active if its posterior mean varies over the data by more (Burda et al. 2016, 2.3).
ACTIVE_VARIANCE = 0.01


@dataclass(frozen=True)
class Evaluation:
    """Means over the test images, in nats per image."""

    images: int
    elbo: float
    recon: float
    kl: float
    kl_per_dimension: list[float]
    active_units: int
    samples: int
    nll: float | None  # importance-sampled with `samples` draws; None without any


@torch.no_grad()
def evaluate(trained: Trained, samples: int, images: int, progress: bool = False) -> Evaluation:
    """Evaluates a network on its test images.

    Args:
        trained: the network.
        samples: draws of z for each image in the likelihood's estimate; 0: no estimate.
        images: how many of the test images; 0: all.
        progress: whether a bar is shown.
    """
    test = trained.test[:images] if images else trained.test
    model, likelihood = trained.model, trained.config.likelihood
    seeds = torch.Generator().manual_seed(trained.config.seed)
    recon = kl = nll = 0.0
    means, per_dimension = [], torch.zeros(trained.config.latent, dtype=torch.float64)
    with EpochBar(len(test), "evaluate", progress) as bar:
        for pixels in test.split(BATCH):
            mu, logvar = model.encode(to_input(pixels))
            seed = int(torch.randint(2**63 - 1, (), generator=seeds))
            z, divergence = vf.reparameterize_kl(mu, logvar, seed=seed)
            out = vf.elbo_loss(
                model.decode(z), pixels, kl=divergence, likelihood=likelihood, reduction="sum"
            )
            recon, kl = recon + out.recon.item(), kl + out.kl.item()
            means.append(mu)
            per_dimension += vf.gaussian_kl(mu, logvar, reduction="none").double().sum(0).cpu()
            if samples:
                nll -= importance_log_likelihood(model, pixels, samples, seed).sum().item()
            bar.advance(len(pixels), torch.stack((out.loss, out.recon, out.kl)) / len(pixels))
    count = len(test)
    variance = torch.cat(means).var(0, correction=0)
    return Evaluation(
        images=count,
        elbo=-(recon + kl) / count,
        recon=recon / count,
        kl=kl / count,
        kl_per_dimension=(per_dimension / count).tolist(),
        active_units=int((variance > ACTIVE_VARIANCE).sum()),
        samples=samples,
        nll=nll / count if samples else None,
    )


@torch.no_grad()
def importance_log_likelihood(model: MLPVAE, pixels: Tensor, samples: int, seed: int = 0) -> Tensor:
    r"""Estimate of log p(x) for each image, in memory that does not grow with the samples.

    .. math:: \log \tfrac1K \sum_k p(x \mid z_k)\, p(z_k) / q(z_k \mid x),\quad z_k \sim q

    Args:
        model: the network.
        pixels: x, ``[B, features]``, uint8 or bool.
        samples: K.
        seed: of the noise.

    Returns:
        float64, ``[B]``, in nats.

    Source: Burda, Grosse and Salakhutdinov 2016, Importance Weighted Autoencoders, equation 8.
    """
    mu, logvar = model.encode(to_input(pixels))
    draws = generator(seed, "importance")
    # The sum of exponentials and the largest exponent so far.
    total = torch.zeros(len(pixels), dtype=torch.float64, device=pixels.device)
    largest = torch.full_like(total, -math.inf)
    zero = torch.zeros_like(mu)
    for _ in range(samples):
        eps = vf.reparameterize(zero, zero, seed=int(torch.randint(2**63 - 1, (), generator=draws)))
        z = vf.reparameterize(mu, logvar, eps=eps)
        params = model.decode(z)
        if model.likelihood == "bernoulli":
            nll = vf.bernoulli_nll(params, pixels, reduction="sample")
        else:
            nll = vf.gaussian_nll(params, pixels, reduction="sample")
        # log p(z) - log q(z|x): the constants of the two Gaussians cancel.
        ratio = 0.5 * (eps.double().square() + logvar.double() - z.double().square()).sum(1)
        weight = ratio - nll.double()
        above = torch.maximum(largest, weight)
        total = total * (largest - above).exp() + (weight - above).exp()
        largest = above
    return largest + total.log() - math.log(samples)


def describe(result: Evaluation) -> list[str]:
    """The report, line by line."""
    dimensions = sorted(result.kl_per_dimension, reverse=True)
    lines = [
        f"{result.images} test images, nats per image",
        f"ELBO     {result.elbo:.2f}  (recon {result.recon:.2f}, KL {result.kl:.2f})",
        f"active   {result.active_units} of {len(dimensions)} latent dimensions",
        f"KL of each, sorted: {' '.join(f'{kl:.2f}' for kl in dimensions)}",
    ]
    if result.nll is not None:
        lines.insert(2, f"NLL      {result.nll:.2f}  (importance-sampled, K = {result.samples})")
    return lines
