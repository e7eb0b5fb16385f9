"""What commands share: errors as one line, and the options of those that take a trained network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from vae_fast.training.trained import Trained


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"vae-fast: error: {message}\n")


def reported(command: Callable[[], None], compiled: bool = False) -> int:
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
        print(f"vae-fast: error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


def print_line(line: str) -> None:
    print(line, flush=True)


def network_command(
    commands: Any,
    run: Callable[[argparse.Namespace], None],
    *,
    help: str,
    description: str,
    least: Mapping[str, int] | None = None,
) -> Any:
    """The parser of a command that looks at a trained network; its options are still to be added.

    Args:
        commands: of the program.
        run: the command, whose function name is its own.
        help: one line.
        description: what it does.
        least: numbers that options have to be at least.
    """

    def checked(args: argparse.Namespace, parser: Parser) -> int:
        for name, bound in (least or {}).items():
            if (value := getattr(args, name)) < bound:
                parser.error(f"--{name}: got {value}, expected at least {bound}")
        return reported(lambda: run(args))

    parser = commands.add_parser(run.__name__, help=help, description=description)
    parser.set_defaults(run=checked)
    parser.add_argument("checkpoint", help="the folder of a run, or its checkpoint")
    parser.add_argument("--data", metavar="PATH", help="of the data, as for train")
    parser.add_argument("--device", default="auto", metavar="NAME", help="as for train")
    return parser


def add_label_option(parser: Any, default: str | None = None) -> None:
    """Which label the images of a conditional network are to have."""
    text = "of a conditional network's images" + (f" (default: {default})" if default else "")
    parser.add_argument("--label", type=int, metavar="D", help=text)


def load_network(args: argparse.Namespace, **options: Any) -> Trained:
    """The trained network that the options name; further ones are those of `trained.load`."""
    from vae_fast.train import pick_device
    from vae_fast.training import trained

    return trained.load(Path(args.checkpoint), args.data, pick_device(args.device), **options)
