"""The command line: `vae-fast train`, `vae-fast evaluate` and `vae-fast info`.

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
    _add_evaluate(commands)
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

    return _reported(lambda: _run_training(args, given), compiled="compile" in args)


def _reported(command: Callable[[], None], compiled: bool = False) -> int:
    """Runs a command; a fault that the user can mend becomes one line and exit status 1."""
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
    if compiled:
        from torch._dynamo.exc import TorchDynamoException

        mendable += (TorchDynamoException,)
    try:
        command()
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


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="ELBO, use of the latent dimensions and likelihood of a trained network",
        description="Evaluate a trained network on its test images, in nats per image.",
    )
    evaluate.set_defaults(run=_evaluate)
    evaluate.add_argument("checkpoint", help="the folder of a run, or its checkpoint")
    evaluate.add_argument("--data", metavar="DIR", help="folder of the data, as for train")
    evaluate.add_argument(
        "--samples",
        type=int,
        default=100,
        metavar="K",
        help="draws of z for each image in the importance-sampled likelihood, 0 for none "
        "(default 100)",
    )
    evaluate.add_argument(
        "--images", type=int, default=0, metavar="N", help="the first N test images (default all)"
    )
    evaluate.add_argument("--out", metavar="FILE", help="write the numbers as JSON, too")
    evaluate.add_argument("--device", default="auto", metavar="NAME", help="as for train")
    evaluate.add_argument("--no-progress", action="store_true", help="no progress bar")


def _evaluate(args: argparse.Namespace, parser: Parser) -> int:
    for name in ("samples", "images"):
        if getattr(args, name) < 0:
            parser.error(f"--{name}: got {getattr(args, name)}, expected at least 0")
    return _reported(lambda: _run_evaluation(args))


def _run_evaluation(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from vae_fast.evaluate import describe, evaluate
    from vae_fast.train import pick_device
    from vae_fast.training import trained
    from vae_fast.training.files import write_json
    from vae_fast.training.machine import describe_machine, versions

    device = pick_device(args.device)
    network = trained.load(Path(args.checkpoint), args.data, device)
    result = evaluate(network, args.samples, args.images, progress=not args.no_progress)
    if args.out:
        content = {
            "evaluation": asdict(result),
            "config": asdict(network.config),
            "epoch": network.epoch,
            "machine": describe_machine(device),
            "versions": versions(),
        }
        write_json(Path(args.out), content)
    for line in describe(result):
        _print(line)


def _print(line: str) -> None:
    print(line, flush=True)


def _silent(line: str) -> None:
    pass


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
