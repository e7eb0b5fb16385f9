"""`torch.nn.Module` faces of the public functions."""

from __future__ import annotations

from torch import Tensor, nn

from . import functional
from .checks import reduction_code
from .functional import ELBO


class ELBOLoss(nn.Module):
    """The negative evidence lower bound as a module; see `vae_fast.elbo_loss`.

    Args:
        likelihood: "bernoulli" or "gaussian".
        beta: weight of the KL.
        reduction: "sample", "batchmean" or "sum".

    Shape: ``params`` ``[B, ...]``, ``target`` ``[B, ...]``, ``kl`` ``[B]``.
    """

    def __init__(
        self,
        likelihood: str = "bernoulli",
        beta: float | Tensor = 1.0,
        reduction: str = "batchmean",
    ) -> None:
        super().__init__()
        reduction_code(reduction, per_sample_only=True)
        self.likelihood = functional.check_likelihood(likelihood)
        self.beta = beta
        self.reduction = reduction

    def forward(
        self,
        params: Tensor | tuple[Tensor, Tensor],
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
