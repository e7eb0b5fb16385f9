"""`vae-fast train`: trains one of the reference models on images or counts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from vae_fast.training.config import CHOICES, DEFAULTS, OWNERS, TrainConfig

from .common import Parser, print_line, reported

SETTINGS = tuple(field.name for field in fields(TrainConfig))


def add(commands: Any) -> None:
    """The options of `vae-fast train`."""
    default = TrainConfig()
    train = commands.add_parser(
        "train",
        help="train a reference model on images or counts",
        description="Train a reference model and write metrics, a checkpoint and pictures to a "
        "folder. Losses are nats per image or cell. `torchrun --nproc-per-node N -m vae_fast train "
        "...` trains with N processes.",
        # What is not given stays unset: with --resume it comes from the checkpoint.
        argument_default=argparse.SUPPRESS,
    )
    train.set_defaults(run=_run)

    def setting(name: str, text: str, **options: Any) -> None:
        field = name.replace("-", "_")
        value = getattr(default, field)
        owner = f"{OWNERS[field]}: " if field in OWNERS else ""
        shown = "" if value is None else f" (default {value}"
        shown += "".join(f", {m} {d[field]}" for m, d in DEFAULTS.items() if field in d)
        shown += ")" if shown else ""
        options.setdefault("choices", CHOICES.get(field))
        train.add_argument(f"--{name}", help=f"{owner}{text}{shown}", **options)

    train.add_argument(
        "--data",
        metavar="PATH",
        help="folder with MNIST's IDX files (plain or .gz) or freyface.npz; for scvi an .h5ad, a "
        "file of scipy's save_npz or a folder with one, or pbmc or reuters, which scanpy and lda "
        "ship; default: the folder that VAE_FAST_DATA names, else scikit-learn's digits, or drawn "
        "cells",
    )
    train.add_argument(
        "--dataset",
        choices=("mnist", "freyface", "digits", "pbmc", "reuters"),
        help="which data set of the folder (default: the first one found, in this order)",
    )
    train.add_argument(
        "--out",
        metavar="DIR",
        help="folder of the results, those of an earlier run are replaced "
        "(default runs/<dataset>-<model>)",
    )
    train.add_argument(
        "--resume", action="store_true", help="continue the run in --out, with its settings"
    )
    setting("model", "what to train")
    setting("network", "fully connected or convolutional")
    setting("activation", "of the hidden layers")
    setting("latent", "size of z, or number of categorical variables", type=int, metavar="N")
    setting("hidden", "units of the hidden layers", type=int, metavar="N")
    setting(
        "likelihood",
        "of a pixel given z; Gaussian with unit variance, one learned variance, or one per pixel; "
        "of a count negative binomial, zero-inflated, or Poisson",
    )
    setting("samples", "draws of z for each row and step", type=int, metavar="L")
    setting("flow", "kind of normalizing flow")
    setting("flow-steps", "number of maps", type=int, metavar="N")
    setting("categories", "values of a variable", type=int, metavar="K")
    setting("corruption", "noise added to the input, or pixels set to 0")
    setting(
        "corruption-level",
        "standard deviation of the noise, or probability of a 0",
        type=float,
        metavar="X",
    )
    setting("dispersion", "one for each gene, or for each gene and cell")
    setting("label-key", "column of AnnData with labels, for the picture", metavar="COLUMN")
    setting("covariate-key", "column with what encoder and decoder are given", metavar="COLUMN")
    setting("layer", "of AnnData with the counts (else counts, if there, or X)", metavar="NAME")
    setting("sparsity", "mean activation to reach", type=float, metavar="X")
    setting("epochs", "passes over the data", type=int, metavar="N")
    setting("batch-size", "images or cells per step, of all processes", type=int, metavar="N")
    setting("beta", "weight of the KL term, or of the sparsity penalty", type=float, metavar="X")
    setting("lr", "learning rate of Adam", type=float, metavar="X")
    setting("seed", "of the weights, batches and noise", type=int, metavar="N")
    train.add_argument(
        "--binarize",
        action="store_true",
        help="draw the pixels, 0 or 1, from their grey value, anew in every epoch",
    )
    setting(
        "split", "seed of the split of a data set that comes without one", type=int, metavar="N"
    )
    setting("without-label", "leave out the images of one label", type=int, metavar="D")
    setting("precision", "of the network; the loss is float32 at least")
    setting("loss", "kernels of the loss; both: train with each and compare")
    train.add_argument("--compile", action="store_true", help="torch.compile the network")
    train.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: cuda if usable)")
    train.add_argument("--no-progress", action="store_true", help="no progress bar")
    train.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _run(args: argparse.Namespace, parser: Parser) -> int:
    given = {name: value for name, value in vars(args).items() if name in SETTINGS}
    try:
        TrainConfig.of(**given)
    except ValueError as error:
        parser.error(f"--{error}".replace("_", "-"))

    return reported(lambda: _train(args, given), compiled="compile" in args)


def _train(args: argparse.Namespace, given: dict[str, Any]) -> None:
    from vae_fast import train
    from vae_fast.training import checkpoint, source
    from vae_fast.training.distributed import World, world

    device = train.pick_device(getattr(args, "device", "auto"))
    path, name = getattr(args, "data", None), given.get("dataset")
    config, resume, data = TrainConfig.of(**given), None, None
    if "out" in args:
        out = Path(args.out)
    else:  # named after the data set, which may be the first one found
        data = source.load(path, config, name)
        out = Path(f"runs/{data.name}-{config.model}")
    if "resume" in args:
        resume = checkpoint.load(out / train.CHECKPOINT)
        config = train.resumed_config(out / train.CHECKPOINT, resume.config, given)
        data, name = None, config.dataset
    if data is None:
        data = source.load(path, config, name)

    def run(processes: World) -> None:
        training = train.Training(
            config,
            data,
            out,
            device=device,
            compiled="compile" in args,
            resume=resume,
            world=processes,
        )
        shown = "quiet" not in args and processes.is_main
        report: Callable[[str], None] = print_line if shown else _silent
        if data.note:
            report(data.note)
        training.fit(report, progress=shown and "no_progress" not in args)
        report(f"results: {out}")

    with world(device) as processes:
        run(processes)


def _silent(line: str) -> None:
    pass
