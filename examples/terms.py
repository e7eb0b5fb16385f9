"""Pictures of the loss's terms, for the guide."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import FIGURES, save
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import vae_fast as vf

COLOURS = ("tab:blue", "tab:orange", "tab:green")


def panels(columns: int) -> tuple[Figure, list[Axes]]:
    """A row of panels without a frame on the right and above."""
    figure = Figure(figsize=(3.6 * columns, 2.9), layout="constrained")
    found = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def sampling(path: Path) -> None:
    figure, (axes,) = panels(1)
    posteriors = ((-1.5, 0.5, -1.0, 0.0), (1.5, -0.5, 0.0, -2.5))
    for colour, (x, y, logvar_x, logvar_y) in zip(COLOURS, posteriors, strict=False):
        mu = torch.tensor([x, y]).expand(2000, 2)
        z = vf.reparameterize(mu, torch.tensor([logvar_x, logvar_y]).expand(2000, 2), seed=1)
        axes.scatter(*z.T, s=3, linewidths=0, alpha=0.5, color=colour)
        axes.plot(x, y, "+", color="black")
    axes.set(xlabel="z[0]", ylabel="z[1]", title="samples of two posteriors", aspect="equal")
    save(path / "sampling.png", figure)


def kl(path: Path) -> None:
    figure, (left, right) = panels(2)
    mu, logvar = torch.linspace(-3, 3, 301), torch.linspace(-5, 3, 301)
    for colour, value in zip(COLOURS, (0.0, -2.0, 1.5), strict=True):
        by_mu = vf.gaussian_kl(mu, torch.full_like(mu, value), reduction="none")
        left.plot(mu, by_mu, color=colour, label=f"logvar = {value:g}")
    for colour, value in zip(COLOURS, (0.0, 1.0, 2.0), strict=True):
        by_logvar = vf.gaussian_kl(torch.full_like(logvar, value), logvar, reduction="none")
        right.plot(logvar, by_logvar, color=colour, label=f"mu = {value:g}")
    left.set(xlabel="mu", ylabel="nats")
    right.set(xlabel="logvar")
    for axes in (left, right):
        axes.set_ylim(0, 8)
        axes.legend(frameon=False, fontsize=8)
    save(path / "kl.png", figure)


def bernoulli(path: Path) -> None:
    figure, (left, right) = panels(2)
    for colour, target in zip(COLOURS, (0.0, 0.5, 1.0), strict=True):
        logits = torch.linspace(-6, 6, 301, requires_grad=True)
        loss = vf.bernoulli_nll(logits, torch.full((301,), target), reduction="none")
        (grad,) = torch.autograd.grad(loss.sum(), logits)
        left.plot(logits.detach(), loss.detach(), color=colour, label=f"target {target:g}")
        right.plot(logits.detach(), grad, color=colour)
    left.set(xlabel="logit", ylabel="nats", title="loss")
    right.set(xlabel="logit", title="gradient")
    left.legend(frameon=False, fontsize=8)
    save(path / "bernoulli.png", figure)


def gaussian(path: Path) -> None:
    figure, (axes,) = panels(1)
    error = torch.linspace(-1, 1, 401)
    for colour, scale in zip(COLOURS, (0.1, 0.3, 1.0), strict=True):
        logvar = torch.tensor(scale).square().log()
        nll = vf.gaussian_nll(error, torch.zeros_like(error), logvar, reduction="none")
        axes.plot(error, nll, color=colour, label=f"standard deviation {scale:g}")
    axes.set(xlabel="target - mean", ylabel="nats", ylim=(-2, 9))
    axes.legend(frameon=True, fontsize=8, loc="upper center", edgecolor="none")
    save(path / "gaussian.png", figure)


def cancellation(path: Path) -> None:
    figure, (axes,) = panels(1)
    figure.set_size_inches(4.6, 2.9)
    logvar = torch.logspace(-6, 0.5, 400)
    exact = logvar.double()
    exact = torch.where(
        exact < 1e-2,
        exact**2 / 4 + exact**3 / 12 + exact**4 / 48,
        0.5 * (torch.expm1(exact) - exact),
    )
    commonly = {}
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        lv = logvar.to(dtype)
        commonly[f"exp(lv) - 1 - lv in {name}"] = -0.5 * (1 + lv - lv.exp())
    fused = vf.gaussian_kl(torch.zeros_like(logvar), logvar, reduction="none")
    found = commonly | {"gaussian_kl, float32": fused}
    for colour, (name, got) in zip(
        ("tab:red", "tab:orange", "tab:blue"), found.items(), strict=True
    ):
        relative = (got.double() - exact).abs() / exact
        axes.loglog(logvar, relative.clamp(min=1e-9), ".", markersize=2, color=colour, label=name)
    axes.set(xlabel="logvar", ylabel="relative error", ylim=(1e-9, 1e5))
    axes.legend(frameon=False, fontsize=8, markerscale=5)
    save(path / "cancellation.png", figure)


def gumbel(path: Path) -> None:
    figure, found = panels(3)
    q = torch.tensor([0.1, 0.15, 0.4, 0.25, 0.1])
    for axes, tau in zip(found, (0.1, 0.7, 5.0), strict=True):
        y, _ = vf.gumbel_softmax_kl(q.log().expand(8, 1, 5), tau, seed=4)
        axes.imshow(y.squeeze(1), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set(title=f"temperature {tau:g}", xlabel="category", xticks=range(5), yticks=[])
    found[0].set_ylabel("samples")
    save(path / "gumbel.png", figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder of the figures")
    out = parser.parse_args().out
    for draw in (sampling, kl, bernoulli, gaussian, cancellation, gumbel):
        draw(out)


if __name__ == "__main__":
    main()
