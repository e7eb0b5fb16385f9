"""`vae-fast train`: trains the reference VAE on images."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from vae_fast.training.config import LOSSES, TrainConfig

from .common import Parser, print_line, reported

SETTINGS = tuple(field.name for field in fields(TrainConfig))


def add(commands: Any) -> None:
    """The options of `vae-fast train`."""
    default = TrainConfig()
    train = commands.add_parser(
        "train",
        help="train the reference VAE on images",
        description="Train the reference VAE (one hidden layer on each side) and write metrics, "
        "a checkpoint and pictures to a folder. Losses are nats per image.",
        # What is not given stays unset: with --resume it comes from the checkpoint.
        argument_default=argparse.SUPPRESS,
    )
    train.set_defaults(run=_run)

    def setting(name: str, text: str, **options: Any) -> None:
        value = getattr(default, name.replace("-", "_"))
        train.add_argument(f"--{name}", help=f"{text} (default {value})", **options)

    train.add_argument(
        "--data",
        metavar="DIR",
        help="folder with MNIST's IDX files (plain or .gz) or freyface.npz; default: the folder "
        "that VAE_FAST_DATA names, else scikit-learn's digits",
    )
    train.add_argument(
        "--dataset",
        choices=("mnist", "freyface", "digits"),
        help="which data set of the folder (default: the first one found, in this order)",
    )
    train.add_argument(
        "--out",
        metavar="DIR",
        help="folder of the results, those of an earlier run are replaced "
        "(default runs/<dataset>-vae)",
    )
    train.add_argument(
        "--resume", action="store_true", help="continue the run in --out, with its settings"
    )
    setting("loss", "kernels of the loss; both: train with each and compare", choices=LOSSES)
    setting("latent", "size of z", type=int, metavar="N")
    setting("hidden", "units of the hidden layers", type=int, metavar="N")
    setting("epochs", "passes over the data", type=int, metavar="N")
    setting("batch-size", "images per step", type=int, metavar="N")
    setting("beta", "weight of the KL term", type=float, metavar="X")
    setting("lr", "learning rate of Adam", type=float, metavar="X")
    setting("seed", "of the weights, batches and noise", type=int, metavar="N")
    setting("likelihood", "of a pixel given z", choices=("bernoulli", "gaussian"))
    train.add_argument(
        "--binarize",
        action="store_true",
        help="draw the pixels, 0 or 1, from their grey value, anew in every epoch",
    )
    train.add_argument("--amp", action="store_true", help="run the network in bfloat16")
    train.add_argument("--compile", action="store_true", help="torch.compile the network")
    train.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: cuda if usable)")
    train.add_argument("--no-progress", action="store_true", help="no progress bar")
    train.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _run(args: argparse.Namespace, parser: Parser) -> int:
    given = {name: value for name, value in vars(args).items() if name in SETTINGS}
    try:
        TrainConfig(**given)
    except ValueError as error:
        parser.error(f"--{error}".replace("_", "-"))

    return reported(lambda: _train(args, given), compiled="compile" in args)


def _train(args: argparse.Namespace, given: dict[str, Any]) -> None:
    from vae_fast import train
    from vae_fast.training import checkpoint, data

    device = train.pick_device(getattr(args, "device", "auto"))
    folder, name = getattr(args, "data", None), given.get("dataset")
    resume, config = None, TrainConfig(**given)
    if "resume" in args and "out" in args:
        path = Path(args.out, train.CHECKPOINT)
        resume = checkpoint.load(path)
        config = train.resumed_config(path, resume.config, given)
        name = config.dataset
    images = data.load(folder, name)
    out = Path(getattr(args, "out", f"runs/{images.name}-vae"))
    if "resume" in args and resume is None:
        path = out / train.CHECKPOINT
        resume = checkpoint.load(path)
        config = train.resumed_config(path, resume.config, given)

    training = train.Training(
        config, images, out, device=device, compiled="compile" in args, resume=resume
    )
    report: Callable[[str], None] = _silent if "quiet" in args else print_line
    training.fit(report, progress="quiet" not in args and "no_progress" not in args)
    report(f"results: {out}")


def _silent(line: str) -> None:
    pass
