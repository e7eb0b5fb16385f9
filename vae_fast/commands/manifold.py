"""`vae-fast manifold`: what a two-dimensional latent space has learned."""

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
    """The options of `vae-fast manifold`."""
    manifold = commands.add_parser(
        "manifold",
        help="the learned manifold of a network with two latent dimensions",
        description="Decode a grid of z at equal steps of prior probability, as one picture.",
    )
    manifold.set_defaults(run=_run)
    add_network_options(manifold)
    manifold.add_argument("--out", default="manifold.png", metavar="FILE", help="PNG to write")
    manifold.add_argument("--side", type=int, default=20, metavar="N", help="images of a row")
    add_label_option(manifold)


def _run(args: argparse.Namespace, parser: Parser) -> int:
    require_at_least(parser, args, 1, "side")
    return reported(lambda: _manifold(args))


def _manifold(args: argparse.Namespace) -> None:
    from vae_fast.training.gallery import write_manifold

    write_manifold(Path(args.out), load_network(args), args.side, args.label)
    print_line(f"{args.side} x {args.side} images: {args.out}")
