"""A training run on disk, from which it continues exactly.

Networks and optimizers, the settings, and the metrics so far. No generator state: the randomness
of an epoch is a function of the run's seed and the epoch (see batches.py). Loading never runs code
from the file (`weights_only=True`).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from vae_fast.training.files import atomic_file

FORMAT = "vae_fast.training.checkpoint.3"
NAME = "checkpoint.pt"  # of the file in a run's folder


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, of something else, or does not fit the run."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to continue after `epoch` finished epochs."""

    epoch: int
    config: dict[str, Any]  # TrainConfig
    data: dict[str, Any]  # DataSet.summary()
    versions: dict[str, str]
    history: list[dict[str, Any]]  # the rows of metrics.jsonl
    runs: dict[str, dict[str, Any]]  # per loss: state of "model" and "optimizer"


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the one before it stays until the new one is whole."""
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    # Through memory: torch.save turns a failed write to a file into an error that hides the cause.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    with atomic_file(path) as file:
        file.write(buffer.getbuffer())


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, tensors on the CPU."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # compares checksums, which torch.load does not
        if damaged is not None:
            raise CheckpointError(f"{path}: damaged checkpoint (checksum of {damaged})")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except (zipfile.BadZipFile, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: not a checkpoint, or a damaged one") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"{path}: found the format {found!r}, needed {FORMAT!r}")
    names = {field.name for field in fields(Checkpoint)}
    if content.keys() != names | {"format"}:
        raise CheckpointError(f"{path}: found {sorted(content)}, needed {sorted(names)}")
    return Checkpoint(**{name: content[name] for name in names})
