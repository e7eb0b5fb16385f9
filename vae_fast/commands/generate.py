"""`vae-fast generate`: images decoded from the prior."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import (
    Parser,
    add_label_option,
    add_network_options,
    load_network,
    print_line,
    reported,
    require_at_least,
)


def add(commands: Any) -> None:
    """The options of `vae-fast generate`."""
    generate = commands.add_parser(
        "generate",
        help="images from the prior of a trained network",
        description="Decode draws of the prior and write the expected images as one picture.",
    )
    generate.set_defaults(run=_run)
    add_network_options(generate)
    generate.add_argument("--out", default="generated.png", metavar="FILE", help="PNG to write")
    generate.add_argument("--count", type=int, default=144, metavar="N", help="images")
    generate.add_argument("--seed", type=int, default=0, metavar="N", help="of z")
    add_label_option(generate, "each in turn")


def _run(args: argparse.Namespace, parser: Parser) -> int:
    require_at_least(parser, args, 1, "count")
    return reported(lambda: _generate(args))


def _generate(args: argparse.Namespace) -> None:
    from vae_fast.training.gallery import write_samples

    write_samples(Path(args.out), load_network(args), args.count, args.seed, args.label)
    print_line(f"{args.count} images: {args.out}")
