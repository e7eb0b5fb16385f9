"""The fully connected VAE of pytorch/examples: 784 - 400 - (20, 20) - 400 - 784 by default.

The layers are created in the order of pytorch/examples, so the same `torch.manual_seed` gives the
same initial weights.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

import vae_fast as vf

LIKELIHOODS = ("bernoulli", "gaussian")


class VAEOutput(NamedTuple):
    """What the losses need of one pass over a batch."""

    params: Tensor  # [B, features], the likelihood's parameters
    kl: Tensor  # [B], KL(q(z|x) || N(0, I)) of each image, in nats


class MLPVAE(nn.Module):
    """A VAE with one hidden layer (ReLU) on each side.

    The decoder gives, for every pixel, a logit (`likelihood="bernoulli"`) or the mean of a Gaussian
    of unit variance (`"gaussian"`), which a sigmoid keeps in [0, 1], the range of the pixels.
    """

    def __init__(
        self,
        features: int = 784,
        hidden: int = 400,
        latent: int = 20,
        likelihood: str = "bernoulli",
    ) -> None:
        super().__init__()
        if likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood must be one of {LIKELIHOODS}, got {likelihood!r}")
        self.latent = latent
        self.likelihood = likelihood
        self.encoder = nn.Linear(features, hidden)
        self.to_mu = nn.Linear(hidden, latent)
        self.to_logvar = nn.Linear(hidden, latent)
        self.decoder = nn.Linear(latent, hidden)
        self.to_params = nn.Linear(hidden, features)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels in [0, 1], [B, features], to `mu` and `logvar` of q(z|x), each [B, latent]."""
        hidden = torch.relu(self.encoder(x))
        return self.to_mu(hidden), self.to_logvar(hidden)

    def decode(self, z: Tensor) -> Tensor:
        """[B, latent] to the likelihood's parameters, [B, features]: logits or means."""
        params = cast(Tensor, self.to_params(torch.relu(self.decoder(z))))
        return params if self.likelihood == "bernoulli" else torch.sigmoid(params)

    def pixels(self, z: Tensor) -> Tensor:
        """[B, latent] to the expected pixels in [0, 1], [B, features]."""
        params = self.decode(z)
        return torch.sigmoid(params) if self.likelihood == "bernoulli" else params

    def forward(self, x: Tensor, seed: Tensor | None = None) -> VAEOutput:
        """Encode, sample one z per image, decode. `x`: [B, features], pixels in [0, 1].

        `seed`, an int64 tensor of one element, fixes the noise; without it, PyTorch's generator
        draws it.
        """
        mu, logvar = self.encode(x)
        z, kl = vf.reparameterize_kl(mu, logvar, seed=seed)
        return VAEOutput(self.decode(z), kl)
