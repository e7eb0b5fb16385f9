"""`vae-fast walk`: from one image to another through the latent space."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import load_network, network_command, print_line


def add(commands: Any) -> None:
    """The options of `vae-fast walk`."""
    parser = network_command(
        commands,
        walk,
        help="a way between two test images, as a picture and as a GIF",
        description="Decode points on the line between the codes of two test images, and "
        "write them as a strip (PNG) and as an animation (GIF).",
        least={"start": 0, "end": 0, "steps": 2},
    )
    parser.add_argument("--start", type=int, default=0, metavar="I", help="number of a test image")
    parser.add_argument("--end", type=int, default=1, metavar="J", help="number of another one")
    parser.add_argument("--steps", type=int, default=12, metavar="N", help="images of the way")
    parser.add_argument("--out", default="walk", metavar="NAME", help="of NAME.png and NAME.gif")


def walk(args: argparse.Namespace) -> None:
    import torch

    from vae_fast.training.checkpoint import CheckpointError
    from vae_fast.training.pictures import write_animation, write_grid

    network = load_network(args)
    network.of_images("a walk")
    if max(args.start, args.end) >= len(network.test):
        raise CheckpointError(
            f"{args.checkpoint}: its data has {len(network.test)} test images, got --start"
            f" {args.start} --end {args.end}"
        )
    ends = [args.start, args.end]
    labels = None if network.given is None else network.given[ends].cpu()
    code = network.code(network.test[ends], labels)
    way = torch.lerp(code[:1], code[1:], torch.linspace(0, 1, args.steps).unsqueeze(1))
    # A conditional network keeps the first image's label: what changes is the style.
    images = network.decode(way, None if labels is None else labels[:1].expand(args.steps))
    title = f"From test image {args.start} to {args.end}"
    write_grid(Path(f"{args.out}.png"), images, network.shape, args.steps, title)
    write_animation(Path(f"{args.out}.gif"), images, network.shape)
    print_line(f"{args.steps} steps: {args.out}.png, {args.out}.gif")
