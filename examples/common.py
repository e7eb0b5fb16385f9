"""What the examples share: trained networks, and figures made of panels."""

from __future__ import annotations

import argparse
import io
import os
from dataclasses import asdict
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from vae_fast.train import Training
from vae_fast.training import checkpoint, data, source, trained
from vae_fast.training.checkpoint import CheckpointError
from vae_fast.training.config import TrainConfig
from vae_fast.training.files import atomic_file
from vae_fast.training.pictures import Shape, grid
from vae_fast.training.trained import Trained

FIGURES = Path(__file__).parents[1] / "docs" / "figures"


def options(description: str | None) -> argparse.Namespace:
    """The command line of an example."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data",
        default=os.environ.get(data.ENVIRONMENT_VARIABLE),
        help=f"folder with MNIST and Frey Face (default: {data.ENVIRONMENT_VARIABLE})",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/examples"), help="trained networks")
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder of the figures")
    parser.add_argument("--epochs", type=int, help="fewer make a quick look")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def network(args: argparse.Namespace, name: str, config: TrainConfig) -> Trained:
    """The network of these settings, trained unless a run of them lies there already."""
    if args.epochs:
        config = TrainConfig(**(asdict(config) | {"epochs": args.epochs}))
    out = args.runs / name
    if not finished(out / checkpoint.NAME, config):
        print(f"training {name}", flush=True)
        loaded = source.load(args.data, config, config.dataset)
        Training(config, loaded, out).fit(lambda line: print("  " + line, flush=True))
    return trained.load(out, args.data, torch.device("cpu"))


def finished(path: Path, config: TrainConfig) -> bool:
    """Whether a checkpoint is that of a whole run with these settings."""
    try:
        stored = checkpoint.load(path)
    except CheckpointError:  # none, or one of another version
        return False
    return stored.config == asdict(config) and stored.epoch == config.epochs


def show(axes: Axes, images: Tensor, shape: Shape, columns: int, title: str) -> None:
    """Images [N, C*H*W] as a grid in one panel."""
    canvas = grid(images, shape, columns).squeeze(2).numpy()
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def save(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, in 128 colours: a third of the size, and no difference to the eye."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    with atomic_file(path) as file:
        Image.open(buffer).convert("RGB").quantize(128).save(file, format="png", optimize=True)
    print(path)
