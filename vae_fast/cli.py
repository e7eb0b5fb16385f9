"""The command line, `vae-fast COMMAND`: see `vae_fast.commands`.

A fault that the user can mend is one line on standard error, `vae-fast: error: ...`, and exit
status 2 for a bad option, 1 for anything else; Ctrl-C is 130. Only the commands import torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from vae_fast.commands import anomaly, embed, evaluate, generate, manifold, train, walk
from vae_fast.commands.common import Parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; bad options end in `SystemExit(2)`."""
    parser = Parser(prog="vae-fast", description="Fused losses of variational autoencoders.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (train, evaluate, generate, walk, manifold, embed, anomaly):
        command.add(commands)
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
