"""`vae-fast anomaly`: which images are unlike those of the training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import load_network, network_command, print_line

SHOWN = 48  # images


def add(commands: Any) -> None:
    """The options of `vae-fast anomaly`."""
    parser = network_command(
        commands,
        anomaly,
        help="scores of the test images by reconstruction error and by ELBO",
        description="Score the test images by reconstruction error and, for a network with a "
        "latent distribution, by negative ELBO, in nats; write the scores (NPZ) and the most "
        "anomalous images (PNG). For a network trained --without-label D the images of D are "
        "scored, too, and the ROC-AUC tells how well the scores find them.",
        least={"samples": 1},
    )
    parser.add_argument(
        "--samples", type=int, default=16, metavar="L", help="draws of z for the ELBO (default 16)"
    )
    parser.add_argument("--out", default="anomaly", metavar="NAME", help="of NAME.npz, NAME.png")


def anomaly(args: argparse.Namespace) -> None:
    import torch

    from vae_fast.anomaly import roc_auc, score
    from vae_fast.training.checkpoint import CheckpointError
    from vae_fast.training.files import write_arrays
    from vae_fast.training.pictures import write_grid
    from vae_fast.training.rows import to_input

    network = load_network(args)
    network.of_images("a picture of anomalies")
    if network.model.architecture.classes and network.held_out is not None:
        raise CheckpointError(
            f"{args.checkpoint}: a conditional network has nothing to say of the label"
            f" {network.config.without_label}, which it was trained without"
        )
    images = network.test
    labels = network.given if network.model.architecture.classes else None
    held_out = torch.zeros(len(images), dtype=torch.bool)
    if network.held_out is not None:
        images = torch.cat((images, network.held_out))
        held_out = torch.cat((held_out, torch.ones(len(network.held_out), dtype=torch.bool)))
    found = score(network, images, labels, args.samples).named()
    arrays = {name: scores.numpy() for name, scores in found.items()}
    write_arrays(Path(f"{args.out}.npz"), arrays | {"held_out": held_out.numpy()})
    name, scores = list(found.items())[-1]
    worst = scores.argsort(descending=True)[:SHOWN]
    pixels = to_input(images[worst.to(images.device)]).cpu()
    title = f"The most anomalous of {len(images)} test images by {name}"
    write_grid(Path(f"{args.out}.png"), pixels, network.shape, 12, title)
    for name, scores in found.items():
        line = f"{name:5}  mean {scores[~held_out].mean():.2f} nats"
        if network.held_out is not None:
            line += (
                f", of label {network.config.without_label} {scores[held_out].mean():.2f}, ROC-AUC"
                f" {roc_auc(scores[~held_out], scores[held_out]):.3f}"
            )
        print_line(line)
    print_line(f"{len(images)} images: {args.out}.npz, {args.out}.png")
