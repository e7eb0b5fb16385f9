"""`vae-fast embed`: where the test images lie in the latent space."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import Parser, add_network_options, load_network, print_line, reported


def add(commands: Any) -> None:
    """The options of `vae-fast embed`."""
    embed = commands.add_parser(
        "embed",
        help="latent means of the test images, as numbers and as a scatter plot",
        description="Encode the test images; write mu, logvar and the labels (NPZ) and a scatter "
        "plot of the two dimensions with the largest variance of mu, coloured by label (PNG).",
    )
    embed.set_defaults(run=_run)
    add_network_options(embed)
    embed.add_argument("--out", default="embedding", metavar="NAME", help="of NAME.npz, NAME.png")


def _run(args: argparse.Namespace, parser: Parser) -> int:
    return reported(lambda: _embed(args))


def _embed(args: argparse.Namespace) -> None:
    from vae_fast.training.files import write_arrays
    from vae_fast.training.pictures import write_scatter

    network = load_network(args)
    mu, logvar = network.encode(network.test)
    arrays = {"mu": mu.numpy(), "logvar": logvar.numpy()}
    if network.labels is not None:
        arrays["labels"] = network.labels.numpy()
    write_arrays(Path(f"{args.out}.npz"), arrays)
    write_scatter(Path(f"{args.out}.png"), mu, network.labels)
    print_line(f"{len(mu)} images, {mu.shape[1]} dimensions: {args.out}.npz, {args.out}.png")
