"""`vae-fast embed`: where the test images lie in the latent space."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import load_network, network_command, print_line


def add(commands: Any) -> None:
    """The options of `vae-fast embed`."""
    parser = network_command(
        commands,
        embed,
        help="codes of the test images (of a VAE: the means), as numbers and as a scatter plot",
        description="Encode the test images; write the codes (of a VAE: mu) and the labels (NPZ) "
        "and a scatter plot of the two that vary most, coloured by label (PNG).",
    )
    parser.add_argument("--out", default="embedding", metavar="NAME", help="of NAME.npz, NAME.png")


def embed(args: argparse.Namespace) -> None:
    from vae_fast.training.files import write_arrays
    from vae_fast.training.pictures import write_scatter

    network = load_network(args)
    codes = network.code(network.test, network.labels)
    arrays = {"code": codes.numpy()}
    labels = None if network.labels is None else network.labels.cpu()
    if labels is not None:
        arrays["labels"] = labels.numpy()
    write_arrays(Path(f"{args.out}.npz"), arrays)
    write_scatter(Path(f"{args.out}.png"), codes, labels)
    print_line(
        f"{len(codes)} images, {codes.shape[1]} numbers each: {args.out}.npz, {args.out}.png"
    )
