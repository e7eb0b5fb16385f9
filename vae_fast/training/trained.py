"""A trained network from its checkpoint, with the data that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vae_fast.nets import VAE, FlowVAE, Model, Variational
from vae_fast.training import checkpoint, data
from vae_fast.training.batches import binarize, generator, to_input
from vae_fast.training.build import build
from vae_fast.training.checkpoint import CheckpointError
from vae_fast.training.config import TrainConfig
from vae_fast.training.data import ImageData

BATCH = 1000


@dataclass(frozen=True)
class Trained:
    """The network in evaluation mode, its settings, and the test images as it was tested on."""

    source: Path  # of the checkpoint, for messages
    model: Model
    config: TrainConfig
    epoch: int
    test: Tensor  # uint8 or bool [N, features], on the model's device
    labels: Tensor | None  # int64 [N], of the test images, on the model's device
    held_out: Tensor | None  # test images of the label that the training did without
    shape: tuple[int, int, int]
    device: torch.device

    def variational(self, purpose: str) -> Variational:
        """The network, if it has a distribution over its codes.

        Raises:
            CheckpointError: it has not.
        """
        if isinstance(self.model, Variational):
            return self.model
        raise CheckpointError(
            f"{self.source}: the model {self.config.model} has no distribution over its codes,"
            f" which {purpose} needs"
        )

    def gaussian_prior(self, purpose: str) -> Variational:
        """The network, if its prior is N(0, I).

        Raises:
            CheckpointError: it is not.
        """
        if isinstance(self.model, (VAE, FlowVAE)):
            return self.model
        raise CheckpointError(
            f"{self.source}: the model {self.config.model} has no Gaussian prior, which {purpose}"
            " needs"
        )

    def given_labels(self, count: int, label: int | None) -> Tensor | None:
        """One label for each of `count` images: the given one, or each class in turn.

        Raises:
            CheckpointError: a label for a network that takes none, or one that it does not know.
        """
        classes = self.model.architecture.classes
        if label is None:
            return torch.arange(count) % classes if classes else None
        if not classes:
            raise CheckpointError(
                f"{self.source}: the model {self.config.model} takes no label, got {label}"
            )
        if not 0 <= label < classes:
            raise CheckpointError(f"{self.source}: has the labels 0 to {classes - 1}, got {label}")
        return torch.full((count,), label)

    @torch.no_grad()
    def code(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes of images [N, features] as in `test`; on the CPU."""
        parts = [
            self.model.code(to_input(part), on(self.device, some))
            for part, some in in_parts(images, labels)
        ]
        return torch.cat(parts).cpu()

    @torch.no_grad()
    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Expected pixels in [0, 1], [N, features], of codes [N, code_size]; on the CPU."""
        parts = [
            self.model.expected_pixels(part.to(self.device), on(self.device, some))
            for part, some in in_parts(z, labels)
        ]
        return torch.cat(parts).cpu()


def in_parts(rows: Tensor, labels: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """Rows and their labels in parts of a size that fits any memory."""
    assert labels is None or len(labels) == len(rows)
    parts = rows.split(BATCH)
    if labels is None:
        return [(part, None) for part in parts]
    return list(zip(parts, labels.split(BATCH), strict=True))


def on(device: torch.device, labels: Tensor | None) -> Tensor | None:
    """Labels on a device."""
    return None if labels is None else labels.to(device)


def load(path: Path, folder: str | None, device: torch.device) -> Trained:
    """Reads a checkpoint and its data.

    Args:
        path: the checkpoint, or the folder of a run.
        folder: of the data, as `data.load` takes it.
        device: of the network and the images.

    Raises:
        CheckpointError: no such checkpoint, a damaged one, or one of other data.
        DataError: the data cannot be read.
    """
    if path.is_dir():
        path = path / checkpoint.NAME
    stored = checkpoint.load(path)
    try:
        config = TrainConfig(**stored.config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the settings in it are not usable ({error})") from error
    images = data.load(folder, config.dataset, config.split)
    if images.summary() != stored.data:
        raise CheckpointError(f"{path}: made with {stored.data}, the data is {images.summary()}")
    model = build(config, images)
    try:
        model.load_state_dict(stored.runs[config.losses[0]]["model"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the network in it does not fit its settings") from error
    return of_network(path, model.to(device), config, stored.epoch, images, device)


def of_network(
    source: Path,
    model: Model,
    config: TrainConfig,
    epoch: int,
    images: ImageData,
    device: torch.device,
) -> Trained:
    """A network with the test images of its data set."""
    held_out = None
    if config.without_label is not None:
        labels = images.labels
        assert labels is not None
        rest = images.test[labels[images.test] == config.without_label]
        held_out = as_tested(images.images[rest], config, "held out").to(device)
        images = images.without(config.without_label)
    labels = None if images.labels is None else images.labels[images.test].to(device)
    test = as_tested(images.images[images.test], config, "test").to(device)
    return Trained(
        source, model.eval(), config, epoch, test, labels, held_out, images.shape, device
    )


def as_tested(images: Tensor, config: TrainConfig, purpose: str) -> Tensor:
    """Grey images, or those with pixels drawn once where the training's are drawn."""
    return binarize(images, generator(config.seed, purpose)) if config.binarize else images
