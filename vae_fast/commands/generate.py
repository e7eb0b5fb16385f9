"""`vae-fast generate`: images decoded from the prior."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import add_label_option, load_network, network_command, print_line


def add(commands: Any) -> None:
    """The options of `vae-fast generate`."""
    parser = network_command(
        commands,
        generate,
        help="images from the prior of a trained network",
        description="Decode draws of the prior and write the expected images as one picture.",
        least={"count": 1},
    )
    parser.add_argument("--out", default="generated.png", metavar="FILE", help="PNG to write")
    parser.add_argument("--count", type=int, default=144, metavar="N", help="images")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of z")
    add_label_option(parser, "each in turn")


def generate(args: argparse.Namespace) -> None:
    from vae_fast.training.gallery import write_samples

    write_samples(Path(args.out), load_network(args), args.count, args.seed, args.label)
    print_line(f"{args.count} images: {args.out}")
