"""`vae-fast embed`: where the test rows lie in the latent space."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import load_network, network_command, print_line

PROJECTIONS = ("axes", "pca", "umap")


def add(commands: Any) -> None:
    """The options of `vae-fast embed`."""
    parser = network_command(
        commands,
        embed,
        help="codes of the test images or cells (of a VAE: the means), as numbers and a picture",
        description="Encode the test images or cells; write the codes (of a VAE: mu) and the "
        "labels (NPZ) and a scatter plot, coloured by label (PNG).",
    )
    parser.add_argument("--out", default="embedding", metavar="NAME", help="of NAME.npz, NAME.png")
    parser.add_argument(
        "--projection",
        choices=PROJECTIONS,
        help="to the plane: the two numbers that vary most, principal components, or UMAP, which "
        "needs umap-learn (default: pca for counts, else axes)",
    )
    parser.add_argument("--all", action="store_true", help="those of the training, too")
    parser.add_argument(
        "--label-key", metavar="COLUMN", help="of AnnData, for the colours (default: as trained)"
    )


def embed(args: argparse.Namespace) -> None:
    import numpy as np

    from vae_fast.training.files import write_arrays
    from vae_fast.training.gallery import write_codes

    network = load_network(args, label_key=args.label_key, every_row=args.all)
    title = f"Codes of {'all' if args.all else 'the test'} {network.unit}s"
    codes = write_codes(Path(f"{args.out}.png"), network, title, args.projection)
    arrays = {"code": codes.numpy()}
    if network.labels is not None:
        arrays["labels"] = network.labels.cpu().numpy()
    if network.label_names is not None:
        arrays["names"] = np.array(network.label_names)
    write_arrays(Path(f"{args.out}.npz"), arrays)
    print_line(
        f"{len(codes)} {network.unit}s, {codes.shape[1]} numbers each: {args.out}.npz,"
        f" {args.out}.png"
    )
