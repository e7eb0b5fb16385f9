"""`vae-fast evaluate`: the ELBO, the use of the latent dimensions, and the likelihood."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import (
    Parser,
    add_network_options,
    load_network,
    print_line,
    reported,
    require_at_least,
)


def add(commands: Any) -> None:
    """The options of `vae-fast evaluate`."""
    evaluate = commands.add_parser(
        "evaluate",
        help="ELBO, use of the latent dimensions and likelihood of a trained network",
        description="Evaluate a trained network on its test images, in nats per image.",
    )
    evaluate.set_defaults(run=_run)
    add_network_options(evaluate)
    evaluate.add_argument(
        "--samples",
        type=int,
        default=100,
        metavar="K",
        help="draws of z for each image in the importance-sampled likelihood, 0 for none "
        "(default 100)",
    )
    evaluate.add_argument(
        "--images", type=int, default=0, metavar="N", help="the first N test images (default all)"
    )
    evaluate.add_argument("--out", metavar="FILE", help="write the numbers as JSON, too")
    evaluate.add_argument("--no-progress", action="store_true", help="no progress bar")


def _run(args: argparse.Namespace, parser: Parser) -> int:
    require_at_least(parser, args, 0, "samples", "images")
    return reported(lambda: _evaluate(args))


def _evaluate(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from vae_fast.evaluate import describe, evaluate
    from vae_fast.training.files import write_json
    from vae_fast.training.machine import describe_machine, versions

    network = load_network(args)
    result = evaluate(network, args.samples, args.images, progress=not args.no_progress)
    if args.out:
        content = {
            "evaluation": asdict(result),
            "config": asdict(network.config),
            "epoch": network.epoch,
            "machine": describe_machine(network.device),
            "versions": versions(),
        }
        write_json(Path(args.out), content)
    for line in describe(result):
        print_line(line)
