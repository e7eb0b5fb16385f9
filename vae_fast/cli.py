"""The command line: `vae-fast train` and `vae-fast info`.

A fault that the user can mend is one line on standard error, `vae-fast: error: ...`, and exit
status 2 for a bad option, 1 for anything else; Ctrl-C is 130. Only the commands import torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from vae_fast.training.config import LOSSES, TrainConfig

SETTINGS = tuple(field.name for field in fields(TrainConfig))


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"vae-fast: error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; bad options end in `SystemExit(2)`."""
    parser = Parser(prog="vae-fast", description="Fused losses of variational autoencoders.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    info = commands.add_parser("info", help="versions, what was built, and which backends work")
    info.set_defaults(run=_info)
    args = parser.parse_args(argv)
    run: Callable[[argparse.Namespace, Parser], int] = args.run
    try:
        return run(args, parser)
    except KeyboardInterrupt as stop:
        print(f"vae-fast: interrupted{': ' if stop.args else ''}{stop}", file=sys.stderr)
        return 130


def _info(args: argparse.Namespace, parser: Parser) -> int:
    from vae_fast.info import main as info

    return info()


def _add_train(commands: Any) -> None:
    default = TrainConfig()
    train = commands.add_parser(
        "train",
        help="train the reference VAE on images",
        description="Train the reference VAE (one hidden layer on each side) and write metrics, "
        "a checkpoint and pictures to a folder. Losses are nats per image.",
        # What is not given stays unset: with --resume it comes from the checkpoint.
        argument_default=argparse.SUPPRESS,
    )
    train.set_defaults(run=_train)

    def add(name: str, text: str, **options: Any) -> None:
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
    add("loss", "kernels of the loss; both: train with each and compare", choices=LOSSES)
    add("latent", "size of z", type=int, metavar="N")
    add("hidden", "units of the hidden layers", type=int, metavar="N")
    add("epochs", "passes over the data", type=int, metavar="N")
    add("batch-size", "images per step", type=int, metavar="N")
    add("beta", "weight of the KL term", type=float, metavar="X")
    add("lr", "learning rate of Adam", type=float, metavar="X")
    add("seed", "of the weights, batches and noise", type=int, metavar="N")
    add("likelihood", "of a pixel given z", choices=("bernoulli", "gaussian"))
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


def _train(args: argparse.Namespace, parser: Parser) -> int:
    given = {name: value for name, value in vars(args).items() if name in SETTINGS}
    try:
        TrainConfig(**given)
    except ValueError as error:
        parser.error(f"--{error}".replace("_", "-"))

    import torch

    from vae_fast.train import TrainError
    from vae_fast.training.checkpoint import CheckpointError
    from vae_fast.training.data import DataError
    from vae_fast.training.optional import MissingPackageError

    mendable: tuple[type[Exception], ...] = (
        OSError,
        CheckpointError,
        DataError,
        MissingPackageError,
        TrainError,
        torch.OutOfMemoryError,
    )
    if "compile" in args:
        from torch._dynamo.exc import TorchDynamoException

        mendable += (TorchDynamoException,)
    try:
        _run_training(args, given)
    except mendable as error:
        print(f"vae-fast: error: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _run_training(args: argparse.Namespace, given: dict[str, Any]) -> None:
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
    report: Callable[[str], None] = _silent if "quiet" in args else _print
    training.fit(report, progress="quiet" not in args and "no_progress" not in args)
    report(f"results: {out}")


def _print(line: str) -> None:
    print(line, flush=True)


def _silent(line: str) -> None:
    pass


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
