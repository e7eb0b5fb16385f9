"""Normalizing flows: a Gaussian posterior made more flexible by invertible maps.

z_0 ~ N(mu, exp(logvar)), z_K = f_K(... f_1(z_0)), log q(z_K|x) = log q(z_0|x) - sum log|det df/dz|.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

import vae_fast as vf

from .model import Architecture, Output, Variational
from .vae import standard_normal

FLOWS = ("iaf", "planar")
AUTOREGRESSIVE_UNITS = 64
OPEN_GATE = 2.0  # added to the gate's logit, so that a new flow nearly keeps z


class Planar(nn.Module):
    """f(z) = z + u tanh(w z + b), with u, w and b given by the encoder for each image
    (Rezende and Mohamed 2015, section 4.1; u is made such that f is invertible, appendix A.1)."""

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.sizes = [latent, latent, 1]
        self.parameters_of = nn.Linear(hidden, sum(self.sizes))

    def forward(self, z: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """z [..., B, latent] and the encoder's features [B, hidden] to f(z) and log|det|."""
        u, w, b = self.parameters_of(hidden).split(self.sizes, -1)
        along = (u * w).sum(-1, keepdim=True)
        u = u + (nn.functional.softplus(along) - 1 - along) * w / w.square().sum(-1, keepdim=True)
        bend = torch.tanh((z * w).sum(-1, keepdim=True) + b)
        # 1 + u w (1 - tanh^2) > 0 since u w > -1.
        slope = (1 - bend.square()) * (u * w).sum(-1, keepdim=True)
        return z + u * bend, slope.squeeze(-1).log1p()


class MaskedLinear(nn.Linear):
    """A linear layer with some of its weights fixed at 0."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * cast(Tensor, self.mask), self.bias)


class InverseAutoregressive(nn.Module):
    """f(z)_j = g_j z_j + (1 - g_j) m_j, with the gate g_j and m_j functions of z_1 ... z_(j-1) and
    of the encoder's features (Kingma et al. 2016, algorithm 1)."""

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        # MADE (Germain et al. 2015): unit k of the hidden layer sees the first 1 + k % (latent - 1)
        # numbers, output j the units that see fewer than j.
        inputs = torch.arange(1, latent + 1)
        units = 1 + torch.arange(AUTOREGRESSIVE_UNITS) % max(latent - 1, 1)
        self.first = MaskedLinear(units[:, None] >= inputs)
        self.context = nn.Linear(hidden, AUTOREGRESSIVE_UNITS, bias=False)
        self.second = MaskedLinear((inputs[:, None] > units).repeat(2, 1))

    def forward(self, z: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """z [..., B, latent] and the encoder's features [B, hidden] to f(z) and log|det|."""
        seen = torch.relu(self.first(z) + self.context(hidden))
        mean, gate = self.second(seen).chunk(2, -1)
        log_gate = nn.functional.logsigmoid(gate + OPEN_GATE)
        # Reversed, so that the next step's last number is this one's first.
        moved = mean + log_gate.exp() * (z - mean)
        return moved.flip(-1), log_gate.sum(-1)


class FlowVAE(Variational):
    """A VAE whose posterior is a Gaussian moved by `steps` maps of one kind, "iaf" or "planar".

    Its KL has no closed form but for the Gaussian's entropy; the rest is estimated from the sample:

    .. math:: -H(q_0) - E[\\log p(z_K)] - E[\\sum_k \\log|\\det f_k'|]
    """

    def __init__(
        self, architecture: Architecture | None = None, flow: str = "iaf", steps: int = 4
    ) -> None:
        a = architecture or Architecture()
        super().__init__(a, {"mu": a.latent, "logvar": a.latent}, a.latent)
        if flow not in FLOWS:
            raise ValueError(f"flow: got {flow!r}, expected one of {FLOWS}")
        if steps < 1:
            raise ValueError(f"steps: got {steps}, expected at least 1")
        kind = Planar if flow == "planar" else InverseAutoregressive
        self.flows = nn.ModuleList(kind(a.latent, a.hidden) for _ in range(steps))

    def posterior(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        """mu and logvar of z_0, each [B, latent], and the features that the flows see."""
        hidden = self.features(x, labels)
        return self.heads["mu"](hidden), self.heads["logvar"](hidden), hidden

    def flow(self, z: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """z_0 [..., B, latent] to z_K and the sum of the log-determinants [..., B]."""
        total = torch.zeros(z.shape[:-1], dtype=torch.float32, device=z.device)
        for flow in self.flows:
            z, log_det = flow(z, hidden)
            total = total + log_det
        return z, total

    def forward(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        seed: Tensor | None = None,
        samples: int | None = None,
    ) -> Output:
        """Encode, sample, flow, decode; see `Model.forward`."""
        mu, logvar, hidden = self.posterior(x, labels)
        z, log_det = self.flow(
            vf.reparameterize(mu, logvar, seed=seed, num_samples=samples), hidden
        )
        kl = 0.5 * (z.float().square() - 1 - logvar.float()).sum(-1) - log_det
        return Output(self.decode(z, labels), kl if samples is None else kl.mean(0))

    def code(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Where the flows take mu, [B, latent]."""
        mu, _, hidden = self.posterior(x, labels)
        return self.flow(mu, hidden)[0]

    def prior(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws of N(0, I)."""
        return torch.randn(count, self.code_size, generator=generator)

    def draw(self, posterior: tuple[Tensor, ...], seed: int) -> tuple[Tensor, Tensor]:
        """z_K, and the ratio of the Gaussians plus the log-determinants."""
        mu, logvar, hidden = posterior
        eps = standard_normal(mu, seed)
        z, log_det = self.flow(vf.reparameterize(mu, logvar, eps=eps), hidden)
        ratio = 0.5 * (eps.double().square() + logvar.double() - z.double().square()).sum(1)
        return z, ratio + log_det.double()

    def kl_of_units(self, posterior: tuple[Tensor, ...]) -> Tensor | None:
        """None: the flows mix the units."""
        return None
