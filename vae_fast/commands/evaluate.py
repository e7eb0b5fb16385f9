"""`vae-fast evaluate`: the ELBO, the use of the latent dimensions, and the likelihood."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import load_network, network_command, print_line


def add(commands: Any) -> None:
    """The options of `vae-fast evaluate`."""
    parser = network_command(
        commands,
        evaluate,
        help="ELBO, use of the latent dimensions and likelihood of a trained network",
        description="Evaluate a trained network on its test images or cells, in nats of each.",
        least={"samples": 0, "images": 0},
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=100,
        metavar="K",
        help="draws of z for each in the importance-sampled likelihood, 0 for none (default 100)",
    )
    parser.add_argument(
        "--images", type=int, default=0, metavar="N", help="the first N of the test (default all)"
    )
    parser.add_argument("--out", metavar="FILE", help="write the numbers as JSON, too")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def evaluate(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from vae_fast import evaluate as evaluation
    from vae_fast.training.files import write_json
    from vae_fast.training.machine import describe_machine, versions

    network = load_network(args)
    result = evaluation.evaluate(network, args.samples, args.images, progress=not args.no_progress)
    if args.out:
        content = {
            "evaluation": result.named(),
            "config": asdict(network.config),
            "epoch": network.epoch,
            "machine": describe_machine(network.device),
            "versions": versions(),
        }
        write_json(Path(args.out), content)
    for line in evaluation.describe(result):
        print_line(line)
