"""What a trained VAE is worth: the ELBO and its parts, the use of its latent units, and the
importance-sampled likelihood."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vae_fast.nets import Variational
from vae_fast.training.batches import generator
from vae_fast.training.progress import EpochBar
from vae_fast.training.rows import first, in_parts, to_input
from vae_fast.training.trained import Trained

# A unit is active if its posterior mean varies over the data by more (Burda et al. 2016, 2.3).
ACTIVE_VARIANCE = 0.01


@dataclass(frozen=True)
class Evaluation:
    """Means over the test rows, in nats per row."""

    unit: str  # what a row is
    rows: int
    elbo: float
    recon: float
    kl: float
    kl_of_units: list[float] | None  # None where the KL is no sum over the units
    active_units: int
    units: int
    samples: int
    nll: float | None  # importance-sampled with `samples` draws; None without any

    def named(self) -> dict[str, Any]:
        """All numbers, that of the rows under what a row is."""
        numbers = asdict(self)
        return {f"{numbers.pop('unit')}s": numbers.pop("rows")} | numbers


@torch.no_grad()
def evaluate(trained: Trained, samples: int, rows: int, progress: bool = False) -> Evaluation:
    """Evaluates a network on its test rows.

    Args:
        trained: the network.
        samples: draws of z for each row in the likelihood's estimate; 0: no estimate.
        rows: how many of the test rows; 0: all.
        progress: whether a bar is shown.

    Raises:
        CheckpointError: the network has no distribution over its codes.
    """
    model = trained.variational("an evaluation")
    test, labels = trained.test, trained.given
    if rows:
        test = first(test, rows)
    count = len(test)
    seeds = torch.Generator().manual_seed(trained.config.seed)
    recon = kl = nll = 0.0
    units, codes = [], []
    with EpochBar(count, trained.unit, "evaluate", progress) as bar:
        for part, given in in_parts(test, None if labels is None else labels[:count]):
            x = to_input(part)
            seed = torch.randint(2**63 - 1, (1,), generator=seeds)
            out = model.loss(model(x, given, seed.to(x.device)), part, reduction="sum")
            recon, kl = recon + out.recon.item(), kl + out.kl.item()
            codes.append(model.code(x, given))
            units.append(model.kl_of_units(model.posterior(x, given)))
            if samples:
                nll -= (
                    importance_log_likelihood(model, part, samples, int(seed), given).sum().item()
                )
            bar.advance(len(part), torch.stack((out.loss, out.recon, out.kl)) / len(part))
    # A categorical unit has a code for each of its values, and is active if one of them varies.
    varying = torch.cat(codes).var(0, correction=0) > ACTIVE_VARIANCE
    active = varying.unflatten(0, (trained.config.latent, -1)).any(1)
    of_units = [some for some in units if some is not None]
    return Evaluation(
        unit=trained.unit,
        rows=count,
        elbo=-(recon + kl) / count,
        recon=recon / count,
        kl=kl / count,
        kl_of_units=torch.cat(of_units).double().mean(0).tolist() if of_units else None,
        active_units=int(active.sum()),
        units=len(active),
        samples=samples,
        nll=nll / count if samples else None,
    )


@torch.no_grad()
def importance_log_likelihood(
    model: Variational, rows: Tensor, samples: int, seed: int = 0, labels: Tensor | None = None
) -> Tensor:
    r"""Estimate of log p(x) for each row, in memory that does not grow with the samples.

    .. math:: \log \tfrac1K \sum_k p(x \mid z_k)\, p(z_k) / q(z_k \mid x),\quad z_k \sim q

    Args:
        model: the network.
        rows: x, ``[B, features]``, as a `DataSet` has them.
        samples: K.
        seed: of the noise.
        labels: int64 ``[B]``, for a conditional network: the estimate is that of log p(x|label).

    Returns:
        float64, ``[B]``, in nats.

    Source: Burda, Grosse and Salakhutdinov 2016, Importance Weighted Autoencoders, equation 8.
    """
    posterior = model.posterior(to_input(rows), labels)
    draws = generator(seed, "importance")
    # The sum of exponentials and the largest exponent so far.
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    largest = torch.full_like(total, -math.inf)
    for _ in range(samples):
        z, ratio = model.draw(posterior, int(torch.randint(2**63 - 1, (), generator=draws)))
        nll = model.likelihood.nll(model.decode(z, labels), rows, "sample")
        weight = ratio - nll.double()
        above = torch.maximum(largest, weight)
        total = total * (largest - above).exp() + (weight - above).exp()
        largest = above
    return largest + total.log() - math.log(samples)


def describe(result: Evaluation) -> list[str]:
    """The report, line by line."""
    lines = [
        f"{result.rows} test {result.unit}s, nats per {result.unit}",
        f"ELBO     {result.elbo:.2f}  (recon {result.recon:.2f}, KL {result.kl:.2f})",
        f"active   {result.active_units} of {result.units} latent units",
    ]
    if result.nll is not None:
        lines.insert(2, f"NLL      {result.nll:.2f}  (importance-sampled, K = {result.samples})")
    if result.kl_of_units is not None:
        units = sorted(result.kl_of_units, reverse=True)
        lines.append(f"KL of each, sorted: {' '.join(f'{kl:.2f}' for kl in units)}")
    return lines
