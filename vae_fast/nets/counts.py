"""The distribution of counts given z: what the decoder's outputs mean (Lopez et al. 2018, scVI)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import vae_fast as vf

from .pixels import Params

LIKELIHOODS = ("nb", "zinb", "poisson")
DISPERSIONS = ("gene", "gene-cell")


class Counts(nn.Module):
    """Turns the decoder's outputs into the parameters of p(x|z).

    The mean of a count is the row's sum times the gene's share, a softmax over the genes.

    * "poisson": a logit of its share for each gene;
    * "nb": and the logarithm of the inverse dispersion, learned for each gene, or with
      `dispersion` "gene-cell" an output;
    * "zinb": and the log-odds of an extra zero, an output.
    """

    def __init__(self, likelihood: str, dispersion: str, genes: int) -> None:
        super().__init__()
        if likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood: got {likelihood!r}, expected one of {LIKELIHOODS}")
        if dispersion not in DISPERSIONS:
            raise ValueError(f"dispersion: got {dispersion!r}, expected one of {DISPERSIONS}")
        self.likelihood = likelihood
        self.by_cell = dispersion == "gene-cell" and likelihood != "poisson"
        self.outputs = 1 + self.by_cell + (likelihood == "zinb")
        if likelihood != "poisson" and not self.by_cell:
            self.log_theta = nn.Parameter(torch.randn(genes))

    def forward(self, outputs: Tensor) -> Params:
        """[..., outputs*genes] to (logits, log_theta, gate_logits), as many as there are."""
        shares, *others = outputs.chunk(self.outputs, -1)
        if self.likelihood == "poisson":
            return (shares,)
        return (shares, *others) if self.by_cell else (shares, self.log_theta, *others)

    def expected(self, params: Params) -> Tensor:
        """The genes' shares."""
        return torch.softmax(params[0], -1)

    def elbo(
        self, params: Params, target: Tensor, kl: Tensor | None, beta: float, reduction: str
    ) -> vf.ELBO:
        """-log p(x|z) + beta KL and its parts."""
        assert kl is not None
        recon = self.nll(params, target, reduction)
        if reduction != "sample":
            kl = kl.mean() if reduction == "batchmean" else kl.sum()
        return vf.ELBO(recon + beta * kl, recon.detach(), kl.detach())

    def nll(self, params: Params, target: Tensor, reduction: str, full: bool = True) -> Tensor:
        """-log p(x|z) in nats; without log x! if not `full`."""
        logits, *others = params
        options: dict[str, Any] = {
            "mean": "softmax",
            "library": row_sums(target).clamp(min=1),  # a row of zeros has a size, too
            "full": full,
            "reduction": reduction,
        }
        if self.likelihood == "poisson":
            return vf.poisson_nll(logits, target, **options)
        log_theta, *gate = others
        options["log_input"] = True
        if gate:
            return vf.zero_inflated_negative_binomial_nll(
                logits, target, log_theta, *gate, **options
            )
        return vf.negative_binomial_nll(logits, target, log_theta, **options)


def row_sums(counts: Tensor) -> Tensor:
    """float32 [B] of counts [B, genes], dense or `torch.sparse_csr`."""
    if counts.layout is torch.strided:
        return counts.sum(-1, dtype=torch.float32)
    # Exact up to 2^53, as the differences of sums of everything before.
    sums = counts.values().cumsum(0, dtype=torch.float64)
    ends = torch.cat((sums.new_zeros(1), sums))[counts.crow_indices()]
    return ends.diff().float()
