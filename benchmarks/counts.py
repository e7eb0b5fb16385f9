"""`python -m benchmarks.counts`: losses of counts, and whole steps of a single-cell VAE with them.

The rivals are scvi-tools' formulas in eager and in compiled PyTorch, on the same counts, of which
92 % are zero. All variants of a step train the same network from the same weights; only the
reconstruction term differs. Every variant's value is compared with the fused one's before it is
timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vae_fast as vf
from vae_fast.training.files import write_json

from . import plot
from .machine import describe
from .timing import WrongResultError, interleaved, quartiles

SIZES = ((128, 2000), (128, 20000), (1024, 20000))
GENES = (1000, 2000, 5000, 10000, 20000)
CELLS, HIDDEN, LATENT = 128, 128, 10
LIKELIHOODS = ("negative_binomial", "zero_inflated_negative_binomial")
EPS = 1e-8
Call = Callable[[], None]


def counts(cells: int, genes: int) -> Tensor:
    """Whole numbers, 92 % of them zero."""
    return torch.poisson(torch.rand(cells, genes) * 4 + 1) * (torch.rand(cells, genes) < 0.08)


def scvi_negative_binomial(x: Tensor, mu: Tensor, theta: Tensor) -> Tensor:
    """-log NB as `scvi.distributions` computes it."""
    log_sum = torch.log(theta + mu + EPS)
    value = theta * (torch.log(theta + EPS) - log_sum) + x * (torch.log(mu + EPS) - log_sum)
    return -(value + torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1))


def scvi_zero_inflated(x: Tensor, mu: Tensor, theta: Tensor, gate: Tensor) -> Tensor:
    """-log ZINB as `scvi.distributions` computes it."""
    softplus = F.softplus(-gate)
    log_theta, log_sum = torch.log(theta + EPS), torch.log(theta + mu + EPS)
    of_theta = -gate + theta * (log_theta - log_sum)
    zero = F.softplus(of_theta) - softplus
    other = -softplus + of_theta + x * (torch.log(mu + EPS) - log_sum)
    other = other + torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
    return -((x < EPS).float() * zero + (x > EPS).float() * other)


PLAIN: dict[str, Callable[..., Tensor]] = {
    "negative_binomial": scvi_negative_binomial,
    "zero_inflated_negative_binomial": scvi_zero_inflated,
}


def compare(results: dict[str, Tensor]) -> None:
    """Raises unless all results are those of the first variant."""
    first, *_ = results.values()
    for name, value in results.items():
        if not torch.allclose(value, first, rtol=1e-3):
            raise WrongResultError(f"{name} gives {value}, expected {first}")


def summary(samples: dict[str, list[float]]) -> dict[str, float]:
    return {name: quartiles(times)[1] for name, times in samples.items()}


def loss(name: str, cells: int, genes: int, seconds: float) -> dict[str, Any]:
    """Loss and all gradients, theta one for each gene."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    x = counts(cells, genes)
    sparse = x.to_sparse_csr()
    leaves = [(torch.rand(cells, genes) * 3 + 0.01).requires_grad_()]
    leaves.append((torch.rand(genes) * 5 + 0.1).requires_grad_())
    if name.startswith("zero"):
        leaves.append(torch.randn(cells, genes).requires_grad_())
    nll = getattr(vf, f"{name}_nll")
    mu, *others = leaves

    def plain() -> Tensor:
        return PLAIN[name](x, mu, *others).sum() / cells

    values: dict[str, Callable[[], Tensor]] = {
        "fused": lambda: nll(mu, x, *others),
        "fused, sparse": lambda: nll(mu, sparse, *others),
        "eager": plain,
        "compile": torch.compile(plain, dynamic=False),
    }
    compare({key: value() for key, value in values.items()})

    def both(value: Callable[[], Tensor]) -> Call:
        return lambda: torch.autograd.grad(value(), leaves) and None

    samples = interleaved({key: both(value) for key, value in values.items()}, seconds)
    return {"likelihood": name, "cells": cells, "genes": genes, "seconds": summary(samples)}


class Network(nn.Module):
    """scVI's, in short: log1p of counts in, shares of the library and dispersions out."""

    def __init__(self, genes: int, gate: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(genes, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 2 * LATENT),
        )
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU())
        self.shares = nn.Linear(HIDDEN, genes)
        self.gate = nn.Linear(HIDDEN, genes) if gate else None
        self.log_theta = nn.Parameter(torch.randn(genes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """KL, logits of the shares, and what else the likelihood takes."""
        mu, logvar = self.encoder(torch.log1p(x)).chunk(2, -1)
        z, kl = vf.reparameterize_kl(mu, logvar, seed=1)
        h = self.decoder(z)
        gates = [] if self.gate is None else [self.gate(h)]
        return kl, self.shares(h), [self.log_theta.exp(), *gates]


def step(name: str, genes: int, seconds: float) -> dict[str, Any]:
    """One training step: network, loss, gradients and Adam."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    x = counts(CELLS, genes)
    library, sparse = x.sum(1), x.to_sparse_csr()
    gate = name.startswith("zero")
    weights = Network(genes, gate).state_dict()
    nll = getattr(vf, f"{name}_nll")

    def plain(logits: Tensor, *others: Tensor) -> Tensor:
        mu = library[:, None] * torch.softmax(logits, -1)
        return PLAIN[name](x, mu, *others).sum() / CELLS

    def fused(target: Tensor) -> Callable[..., Tensor]:
        def term(logits: Tensor, *others: Tensor) -> Tensor:
            value: Tensor = nll(logits, target, *others, library=library, mean="softmax")
            return value

        return term

    terms = {
        "fused": fused(x),
        "fused, sparse": fused(sparse),
        "eager": plain,
        "compile": torch.compile(plain, dynamic=False),
        "least": lambda logits, *others: logits.sum() + sum(t.sum() for t in others),
    }

    def training(term: Callable[..., Tensor]) -> Callable[[], Tensor]:
        model = Network(genes, gate)
        model.load_state_dict(weights)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

        def call() -> Tensor:
            optimizer.zero_grad()
            kl, logits, others = model(x)
            value = kl.mean() + term(logits, *others)
            value.backward()
            optimizer.step()
            return value.detach()

        return call

    variants = {key: training(term) for key, term in terms.items()}
    first = {key: call() for key, call in variants.items()}
    compare({key: value for key, value in first.items() if key != "least"})
    samples = interleaved(
        {key: lambda c=call: c() and None for key, call in variants.items()}, seconds
    )
    return {"likelihood": name, "cells": CELLS, "genes": genes, "seconds": summary(samples)}


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: milliseconds, and how many times longer the rivals take."""
    names = list(rows[0]["seconds"])
    heads = ["", *(f"{n}, ms" for n in names), "eager / fused", "compile / fused", "fused / sparse"]
    table = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        seconds = row["seconds"]
        ratios = [seconds[n] / seconds["fused"] for n in ("eager", "compile")]
        ratios.append(seconds["fused"] / seconds["fused, sparse"])
        short = "NB" if row["likelihood"] == "negative_binomial" else "ZINB"
        cells = [f"{short} {row['cells']}x{row['genes']}"]
        cells += [f"{seconds[n] * 1e3:.2f}" for n in names] + [f"{r:.1f}" for r in ratios]
        table.append(f"| {' | '.join(cells)} |")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/counts.json"))
    parser.add_argument("--seconds", type=float, default=12.0, help="for each row")
    args = parser.parse_args()
    losses = [loss(name, *size, args.seconds) for name in LIKELIHOODS for size in SIZES]
    steps = [step(name, genes, args.seconds) for name in LIKELIHOODS for genes in GENES]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, {"machine": describe(), "losses": losses, "steps": steps})
    plot.draw_steps(steps, args.out.with_suffix(".png"))
    print("Loss and all gradients\n", *lines(losses), "\nWhole steps\n", *lines(steps), sep="\n")


if __name__ == "__main__":
    main()
