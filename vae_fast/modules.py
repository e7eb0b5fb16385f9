"""`torch.nn.Module` faces of the public functions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from . import functional, likelihoods
from .checks import reduction_code
from .functional import ELBO


class ELBOLoss(nn.Module):
    """The negative evidence lower bound as a module; see `vae_fast.elbo_loss`.

    Args:
        likelihood: a name that `vae_fast.elbo_loss` knows.
        beta: weight of the KL. A tensor becomes a buffer: it moves with the module and is part of
            its state.
        reduction: "sample", "batchmean" or "sum".

    Shape: ``params`` ``[B, ...]``, ``target`` ``[B, ...]``, ``kl`` ``[B]``.
    """

    beta: float | Tensor

    def __init__(
        self,
        likelihood: str = "bernoulli",
        beta: float | Tensor = 1.0,
        reduction: str = "batchmean",
    ) -> None:
        super().__init__()
        reduction_code(reduction, per_sample_only=True)
        self.likelihood = likelihoods.find(likelihood).name
        if isinstance(beta, nn.Parameter):
            self.beta = beta
        elif isinstance(beta, Tensor):
            self.register_buffer("beta", beta)
        else:
            self.beta = beta
        self.reduction = reduction

    def forward(
        self,
        params: Tensor | Sequence[Tensor],
        target: Tensor,
        *,
        kl: Tensor | None = None,
        mu: Tensor | None = None,
        logvar: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> ELBO:
        """(loss, recon, kl) in nats."""
        return functional.elbo_loss(
            params,
            target,
            kl=kl,
            mu=mu,
            logvar=logvar,
            beta=self.beta,
            likelihood=self.likelihood,
            weight=weight,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return f"likelihood={self.likelihood!r}, beta={self.beta}, reduction={self.reduction!r}"
