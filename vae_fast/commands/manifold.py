"""`vae-fast manifold`: what a two-dimensional latent space has learned."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import add_label_option, load_network, network_command, print_line


def add(commands: Any) -> None:
    """The options of `vae-fast manifold`."""
    parser = network_command(
        commands,
        manifold,
        help="the learned manifold of a network with two latent dimensions",
        description="Decode a grid of z at equal steps of prior probability, as one picture.",
        least={"side": 1},
    )
    parser.add_argument("--out", default="manifold.png", metavar="FILE", help="PNG to write")
    parser.add_argument("--side", type=int, default=20, metavar="N", help="images of a row")
    add_label_option(parser)


def manifold(args: argparse.Namespace) -> None:
    from vae_fast.training.gallery import write_manifold

    write_manifold(Path(args.out), load_network(args), args.side, args.label)
    print_line(f"{args.side} x {args.side} images: {args.out}")
