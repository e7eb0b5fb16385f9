"""The distribution of a pixel given z: what the decoder's outputs mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import vae_fast as vf

Params = Tensor | tuple[Tensor, ...]
LIKELIHOODS = ("bernoulli", "gaussian", "gaussian-shared", "gaussian-pixel")
# A pixel that never changes has no finite best variance; its standard deviation stays above 0.018.
LOGVAR_BOUNDS = (-8.0, 2.0)


class Pixels(nn.Module):
    """Turns the decoder's outputs into the parameters of p(x|z).

    * "bernoulli": a logit for each pixel;
    * "gaussian": a mean, kept in [0, 1] by a sigmoid, with unit variance;
    * "gaussian-shared": the mean, and one learned log-variance (Rybkin et al. 2021, sigma-VAE);
    * "gaussian-pixel": a mean and a log-variance for each pixel (Kingma and Welling 2013, C.2).
    """

    def __init__(self, likelihood: str) -> None:
        super().__init__()
        if likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood: got {likelihood!r}, expected one of {LIKELIHOODS}")
        self.likelihood = likelihood
        self.outputs = 2 if likelihood == "gaussian-pixel" else 1
        self.kind = "bernoulli" if likelihood == "bernoulli" else "gaussian"
        if likelihood == "gaussian-shared":
            self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, outputs: Tensor) -> Params:
        """[..., outputs*features] to logits, means, or (means, log-variances)."""
        if self.likelihood == "bernoulli":
            return outputs
        if self.likelihood == "gaussian":
            return torch.sigmoid(outputs)
        if self.likelihood == "gaussian-shared":
            return torch.sigmoid(outputs), 2 * self.log_scale
        mean, logvar = outputs.chunk(2, -1)
        return torch.sigmoid(mean), logvar.clamp(*LOGVAR_BOUNDS)

    def expected(self, params: Params) -> Tensor:
        """The expected pixels, in [0, 1]."""
        if isinstance(params, tuple):
            return params[0]
        return torch.sigmoid(params) if self.likelihood == "bernoulli" else params

    def elbo(
        self, params: Params, target: Tensor, kl: Tensor | None, beta: float, reduction: str
    ) -> vf.ELBO:
        """-log p(x|z) + beta KL and its parts, see `vf.elbo_loss`."""
        return vf.elbo_loss(
            params, target, kl=kl, beta=beta, likelihood=self.kind, reduction=reduction
        )

    def nll(self, params: Params, target: Tensor, reduction: str, full: bool = True) -> Tensor:
        """-log p(x|z) in nats; without the Gaussian's constant if not `full`."""
        if self.kind == "bernoulli":
            assert isinstance(params, Tensor)
            return vf.bernoulli_nll(params, target, reduction=reduction)
        mean, logvar = params if isinstance(params, tuple) else (params, None)
        return vf.gaussian_nll(mean, target, logvar, full=full, reduction=reduction)
