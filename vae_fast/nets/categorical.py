"""The VAE with categorical latent variables, trained through the Gumbel-softmax relaxation
(Jang, Gu and Poole 2017; Maddison, Mnih and Teh 2017)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import vae_fast as vf

from .model import Architecture, Output, Variational

# Jang et al. 2017, section 4: the temperature is max(0.5, exp(-r t)) after t steps.
COOLEST = 0.5
COOLING = 1e-4


class CategoricalVAE(Variational):
    """`latent` variables of `categories` values each; p(z) is uniform.

    The objective is that of the relaxed sample and of the exact categorical KL; `draw` gives the
    discrete model's own samples, so a likelihood estimated from them is that of the discrete model.
    """

    temperature: Tensor

    def __init__(self, architecture: Architecture | None = None, categories: int = 10) -> None:
        a = architecture or Architecture()
        if categories < 2:
            raise ValueError(f"categories: got {categories}, expected at least 2")
        super().__init__(a, {"logits": a.latent * categories}, a.latent * categories)
        self.categories = categories
        self.register_buffer("temperature", torch.ones(()))

    def anneal(self, step: int) -> None:
        """Cools the relaxation as the training goes on."""
        self.temperature.fill_(max(COOLEST, math.exp(-COOLING * step)))

    def posterior(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        """Logits, [B, latent, categories]."""
        logits = self.heads["logits"](self.features(x, labels))
        return (logits.unflatten(-1, (-1, self.categories)),)

    def forward(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        seed: Tensor | None = None,
        samples: int | None = None,
    ) -> Output:
        """Encode, sample, decode; see `Model.forward`."""
        (logits,) = self.posterior(x, labels)
        if samples is not None:
            logits = logits.expand(samples, *logits.shape).flatten(0, 1)
        z, kl = vf.gumbel_softmax_kl(logits, self.temperature, seed=seed)
        if samples is not None:
            z, kl = z.unflatten(0, (samples, -1)), kl.unflatten(0, (samples, -1)).mean(0)
        return Output(self.decode(z.flatten(-2), labels), kl)

    def code(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Probabilities, [B, latent * categories]."""
        (logits,) = self.posterior(x, labels)
        return logits.softmax(-1).flatten(1)

    def prior(self, count: int, generator: torch.Generator) -> Tensor:
        """One-hot draws of the uniform distribution."""
        variables = self.code_size // self.categories
        chosen = torch.randint(self.categories, (count, variables), generator=generator)
        return nn.functional.one_hot(chosen, self.categories).float().flatten(1)

    def draw(self, posterior: tuple[Tensor, ...], seed: int) -> tuple[Tensor, Tensor]:
        """One-hot z ~ q(z|x); log p(z) is the same for each."""
        (logits,) = posterior
        z = vf.gumbel_softmax_kl(logits, hard=True, seed=seed)[0]
        log_q = (logits.double().log_softmax(-1) * z).sum((1, 2))
        return z.flatten(1), -logits.shape[1] * math.log(self.categories) - log_q

    def kl_of_units(self, posterior: tuple[Tensor, ...]) -> Tensor | None:
        """KL of each variable to the uniform distribution."""
        return vf.categorical_kl(posterior[0], reduction="none")
