"""The variational autoencoder with a diagonal Gaussian posterior; with classes, the conditional one
(Kingma and Welling 2013; Sohn, Lee and Yan 2015)."""

from __future__ import annotations

import torch
from torch import Tensor

import vae_fast as vf

from .model import Architecture, Output, Variational


def standard_normal(like: Tensor, seed: int) -> Tensor:
    """Noise of the shape of `like`: the same that `vf.reparameterize` adds for this seed."""
    zero = torch.zeros_like(like)
    return vf.reparameterize(zero, zero, seed=seed)


class VAE(Variational):
    """q(z|x) = N(mu, diag(exp(logvar))), p(z) = N(0, I)."""

    def __init__(self, architecture: Architecture | None = None) -> None:
        a = architecture or Architecture()
        super().__init__(a, {"mu": a.latent, "logvar": a.latent}, a.latent)

    def posterior(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        """mu and logvar, each [B, latent]."""
        hidden = self.features(x, labels)
        return self.heads["mu"](hidden), self.heads["logvar"](hidden)

    def forward(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        seed: Tensor | None = None,
        samples: int | None = None,
    ) -> Output:
        """Encode, sample, decode; see `Model.forward`."""
        mu, logvar = self.posterior(x, labels)
        z, kl = vf.reparameterize_kl(mu, logvar, seed=seed, num_samples=samples)
        return Output(self.decode(z, labels), kl)

    def code(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """mu, [B, latent]."""
        return self.posterior(x, labels)[0]

    def prior(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws of N(0, I)."""
        return torch.randn(count, self.code_size, generator=generator)

    def draw(self, posterior: tuple[Tensor, ...], seed: int) -> tuple[Tensor, Tensor]:
        """z = mu + exp(logvar/2) eps; the normalising constants of the two Gaussians cancel."""
        mu, logvar = posterior
        eps = standard_normal(mu, seed)
        z = vf.reparameterize(mu, logvar, eps=eps)
        ratio = 0.5 * (eps.double().square() + logvar.double() - z.double().square()).sum(1)
        return z, ratio

    def kl_of_units(self, posterior: tuple[Tensor, ...]) -> Tensor | None:
        """KL(q(z_j|x) || N(0, 1))."""
        mu, logvar = posterior
        return vf.gaussian_kl(mu, logvar, reduction="none")
