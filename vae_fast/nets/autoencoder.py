"""Autoencoders without a distribution over their codes: plain, denoising and sparse."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

import vae_fast as vf

from .model import Architecture, Model, Output

CORRUPTIONS = ("gaussian", "dropout")
SATURATION = 1e-6  # a mean activation nearer to 0 or 1 has no gradient


class Autoencoder(Model):
    """Trained by the reconstruction alone: cross entropy of logits, or half the squared error."""

    def __init__(self, architecture: Architecture | None = None) -> None:
        a = architecture or Architecture()
        super().__init__(a, {"code": a.latent}, a.latent)

    def code(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The encoder's output, [B, latent]."""
        return cast(Tensor, self.heads["code"](self.features(x, labels)))

    def forward(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        seed: Tensor | None = None,
        samples: int | None = None,
    ) -> Output:
        """Encode and decode; see `Model.forward`. There is one code for each image."""
        code = self.code(self.observe(x, seed), labels)
        return Output(self.decode(code, labels), self.penalty(code))

    def penalty(self, code: Tensor) -> Tensor | None:
        """What the objective adds, a scalar, or None."""
        return None

    def loss(
        self, out: Output, target: Tensor, beta: float = 1.0, reduction: str = "batchmean"
    ) -> vf.ELBO:
        """Reconstruction plus beta times the penalty, which is of the batch as a whole: with "sum"
        it counts once for each image, as with "batchmean"."""
        recon = self.likelihood.nll(out.params, target, reduction, full=False)
        if out.kl is None:
            return vf.ELBO(recon, recon.detach(), torch.zeros_like(recon))
        kl = out.kl.to(recon.dtype)
        if reduction == "sum":
            kl = kl * len(target)
        return vf.ELBO(recon + beta * kl, recon.detach(), kl.detach().expand_as(recon))


class DenoisingAutoencoder(Autoencoder):
    """Sees a corrupted image and is trained to give back the clean one (Vincent et al. 2008).

    Args:
        architecture: of the layers.
        corruption: "gaussian" adds noise, "dropout" sets pixels to 0.
        level: the noise's standard deviation, or the probability of a pixel to be dropped.
    """

    def __init__(
        self,
        architecture: Architecture | None = None,
        corruption: str = "gaussian",
        level: float = 0.3,
    ) -> None:
        super().__init__(architecture)
        if corruption not in CORRUPTIONS:
            raise ValueError(f"corruption: got {corruption!r}, expected one of {CORRUPTIONS}")
        self.corruption, self.level = corruption, level
        # A standard normal variable is below it with the probability of a pixel to be dropped.
        self.threshold = float(torch.special.ndtri(torch.tensor(level, dtype=torch.float64)))

    def observe(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """x with the noise of the seed."""
        if self.corruption == "gaussian":
            return vf.reparameterize(x, torch.full_like(x, 2 * math.log(self.level)), seed=seed)
        zero = torch.zeros_like(x)
        return x * (vf.reparameterize(zero, zero, seed=seed) >= self.threshold)


class SparseAutoencoder(Autoencoder):
    """Code units between 0 and 1, each of which is to be active rarely, `target` on average.

    The penalty is the KL from a Bernoulli of the target to one of the mean activation over the
    batch, summed over the units; beta weights it (Ng 2011, Sparse autoencoder, section 3).
    """

    def __init__(self, architecture: Architecture | None = None, target: float = 0.05) -> None:
        super().__init__(architecture)
        self.target = target

    def code(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Activations in [0, 1], [B, latent]."""
        return torch.sigmoid(super().code(x, labels))

    def penalty(self, code: Tensor) -> Tensor | None:
        """`sparsity_kl` of the batch."""
        return sparsity_kl(code, self.target)


def sparsity_kl(activations: Tensor, target: float) -> Tensor:
    r"""KL of the units' mean activation from a target, in nats.

    .. math:: \sum_j \rho \log\frac{\rho}{\hat\rho_j} + (1-\rho) \log\frac{1-\rho}{1-\hat\rho_j}

    Args:
        activations: in [0, 1], ``[B, units]``; :math:`\hat\rho` is their mean over the batch.
        target: :math:`\rho`, between 0 and 1.

    Returns:
        A scalar; float32 for half precision.

    Source: Ng 2011, Sparse autoencoder (CS294A lecture notes), section 3.
    """
    # In plain PyTorch: an operator of its own would save 2 % of a step (docs/performance.md).
    mean = activations.float().mean(0).clamp(SATURATION, 1 - SATURATION)
    active = target * (math.log(target) - mean.log())
    return (active + (1 - target) * (math.log1p(-target) - (-mean).log1p())).sum()
