"""`python -m benchmarks.steps`: whole training steps, fused against plain PyTorch losses.

A step takes a batch by index from uint8 images that lie on the device, runs the reference VAE
forward and backward, and Adam. All variants train the same network from the same weights; only the
loss layer differs, and what is compiled. Beside them, the step with next to no loss: what the fused
one takes longer is what any loss layer can still gain.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vae_fast.nets import VAE, Architecture
from vae_fast.nets.vae import standard_normal
from vae_fast.training.files import write_json
from vae_fast.training.rows import to_input

from .machine import describe, describe_gpu
from .timing import WrongResultError, interleaved, on_this_thread, quartiles

IMAGES = 16384
Loss = Callable[[VAE, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Setup:
    """A network, the size of its images, and a batch."""

    network: str
    size: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.network} {self.size}x{self.size}, batch {self.batch}"


SETUPS = (
    Setup("mlp", 28, 128),
    Setup("mlp", 28, 1024),
    Setup("conv", 28, 128),
    Setup("conv", 28, 1024),
    Setup("conv", 64, 128),
)


def fused_loss(model: VAE, pixels: Tensor, seed: Tensor) -> Tensor:
    """As the trainer does it."""
    return model.loss(model(to_input(pixels), None, seed), pixels).loss


def plain_loss(
    model: VAE, pixels: Tensor, seed: Tensor | None, eps: Tensor | None = None
) -> Tensor:
    """As it is commonly written."""
    x = to_input(pixels)
    mu, logvar = model.posterior(x)
    std = torch.exp(0.5 * logvar)
    z = mu + std * (torch.randn_like(std) if eps is None else eps)
    recon = F.binary_cross_entropy_with_logits(model.decode(z), x, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return (recon + kl) / len(x)


def least_loss(model: VAE, pixels: Tensor, seed: Tensor) -> Tensor:
    """Keeps every layer at work and computes next to nothing."""
    mu, logvar = model.posterior(to_input(pixels))
    params = model.decode(mu)
    assert isinstance(params, Tensor)
    return params.sum() + logvar.sum()


class Step:
    """One training step; its own copy of the network and the optimizer."""

    def __init__(self, model: VAE, loss: Loss, images: Tensor, batch: int) -> None:
        self.model, self.loss, self.images, self.batch = model, loss, images, batch
        self.optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
        self.order = torch.randperm(len(images), device=images.device)
        self.seed = torch.ones(1, dtype=torch.int64, device=images.device)
        self.start = 0

    def pixels(self) -> Tensor:
        """The next batch, by index."""
        self.start = (self.start + self.batch) % (len(self.images) - self.batch + 1)
        return self.images[self.order[self.start : self.start + self.batch]]

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        self.loss(self.model, self.pixels(), self.seed).backward()
        self.optimizer.step()


def check(model: VAE, pixels: Tensor, seed: Tensor) -> None:
    """Raises unless the fused and the plain loss and their gradients agree for the same noise."""
    with torch.no_grad():
        eps = standard_normal(model.posterior(to_input(pixels))[0], int(seed))
    found = []
    for loss in (fused_loss(model, pixels, seed), plain_loss(model, pixels, None, eps)):
        grads = torch.autograd.grad(loss, list(model.parameters()))
        found.append((loss, torch.cat([grad.flatten() for grad in grads])))
    (loss, grad), (want, wanted) = found
    if not torch.allclose(loss, want, rtol=1e-4):
        raise WrongResultError(f"the loss is {loss}, expected {want}")
    if (grad - wanted).norm() > 1e-4 * wanted.norm():
        raise WrongResultError("the gradient differs")


def waiting(call: Callable[[], None], count: int) -> float:
    """Seconds of so many calls with the work that they left to a GPU."""

    def all_of_it() -> None:
        for _ in range(count):
            call()
        torch.cuda.synchronize()

    torch.cuda.synchronize()
    return on_this_thread(all_of_it, 1)


def measure(setup: Setup, device: torch.device, seconds: float) -> dict[str, Any]:
    """Median seconds of one step of each variant, and of taking a batch."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    shape = (1, setup.size, setup.size)
    images = torch.randint(0, 256, (IMAGES, setup.size**2), dtype=torch.uint8, device=device)
    architecture = Architecture(shape=shape, network=setup.network)
    weights = VAE(architecture).to(device).state_dict()

    def step(loss: Loss) -> Step:
        model = VAE(architecture).to(device)
        model.load_state_dict(weights)
        return Step(model, loss, images, setup.batch)

    compiled = partial(torch.compile, fullgraph=True, dynamic=False)
    variants: dict[str, Callable[[], None]] = {
        "fused": step(fused_loss),
        "eager": step(plain_loss),
        "compile": step(compiled(plain_loss)),
        "fused, compiled": step(compiled(fused_loss)),
        "least": step(least_loss),
    }
    if device.type == "cuda":
        variants["compile, graph"] = step(compiled(plain_loss, mode="reduce-overhead"))
    first = step(fused_loss)
    check(first.model, first.pixels(), first.seed)
    clock = waiting if device.type == "cuda" else on_this_thread
    batches = {"batch": lambda: (first.pixels(), None)[1]}
    samples = interleaved(variants | batches, seconds, clock=clock)
    middle = {name: quartiles(values) for name, values in samples.items()}
    return {
        "setup": setup.name,
        "batch": setup.batch,
        "seconds": {name: q[1] for name, q in middle.items()},
        "quartiles": {name: [q[0], q[2]] for name, q in middle.items()},
    }


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: images/s of each variant, ratios, and shares of the fused step."""
    names = ["fused", "fused, compiled", "eager", "compile", "compile, graph"]
    names = [n for n in names if any(n in row["seconds"] for row in rows)]
    heads = ["images/s", *names, "eager / fused", "compile / fused", "loss layer", "batching"]
    table = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        seconds = row["seconds"]
        fused = seconds["fused"]
        cells = [row["setup"], *(f"{row['batch'] / seconds[n]:,.0f}" for n in names)]
        cells += [f"{seconds[n] / fused:.2f}" for n in ("eager", "compile")]
        cells += [f"{1 - seconds['least'] / fused:.0%}", f"{seconds['batch'] / fused:.1%}"]
        table.append(f"| {' | '.join(cells)} |")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each row")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), metavar="DIR")
    args = parser.parse_args()
    device = torch.device(args.device)
    machine = describe() | (describe_gpu() if device.type == "cuda" else {})
    path = args.out / ("steps-gpu.json" if device.type == "cuda" else "steps-cpu.json")
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for setup in SETUPS:
        rows.append(measure(setup, device, args.seconds))
        write_json(path, {"machine": machine, "rows": rows})  # whole after each row
        print(lines(rows[-1:])[-1], flush=True)
    print("\n" + "\n".join(lines(rows)) + f"\n\nwritten: {path}")


if __name__ == "__main__":
    main()
