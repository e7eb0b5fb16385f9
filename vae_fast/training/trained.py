"""A trained network from its checkpoint, with the data that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vae_fast.nets import VAE, FlowVAE, Model, Variational
from vae_fast.training import checkpoint, source
from vae_fast.training.batches import binarize, generator
from vae_fast.training.build import build
from vae_fast.training.checkpoint import CheckpointError
from vae_fast.training.config import TrainConfig
from vae_fast.training.data import DataSet
from vae_fast.training.rows import in_parts, take, to_input


@dataclass(frozen=True)
class Trained:
    """The network in evaluation mode, its settings, and the test rows as it was tested on."""

    source: Path  # of the checkpoint, for messages
    model: Model
    config: TrainConfig
    epoch: int
    test: Tensor  # [N, features], on the model's device
    labels: Tensor | None  # int64 [N], of the test rows, on the model's device
    label_names: tuple[str, ...] | None
    given: Tensor | None  # int64 [N], what a conditional network is given of them, there, too
    held_out: Tensor | None  # test rows of the label that the training did without
    shape: tuple[int, int, int]
    unit: str  # what a row is
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

    def of_images(self, purpose: str) -> None:
        """Nothing, for a network of images.

        Raises:
            CheckpointError: it is one of counts.
        """
        if self.unit != "image":
            raise CheckpointError(
                f"{self.source}: is of {self.unit}s, {purpose} needs a network of images"
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
    def code(self, rows: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes of rows [N, features] as in `test`; on the CPU."""
        parts = [
            self.model.code(to_input(part), on(self.device, some))
            for part, some in in_parts(rows, labels)
        ]
        return torch.cat(parts).cpu()

    @torch.no_grad()
    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Expected pixels in [0, 1] or genes' shares, [N, features], of codes [N, code_size]; on
        the CPU."""
        parts = [
            self.model.expected(part.to(self.device), on(self.device, some))
            for part, some in in_parts(z, labels)
        ]
        return torch.cat(parts).cpu()


def on(device: torch.device, labels: Tensor | None) -> Tensor | None:
    """Labels on a device."""
    return None if labels is None else labels.to(device)


def load(
    path: Path,
    place: str | None,
    device: torch.device,
    label_key: str | None = None,
    every_row: bool = False,
) -> Trained:
    """Reads a checkpoint and its data.

    Args:
        path: the checkpoint, or the folder of a run.
        place: of the data, as `source.load` takes it.
        device: of the network and the rows.
        label_key: another column of AnnData for the labels.
        every_row: take those of the training for test rows, too, all in their order.

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
    read = config if label_key is None else replace(config, label_key=label_key)
    data = source.load(place, read, config.dataset)
    if data.summary() != stored.data:
        raise CheckpointError(f"{path}: made with {stored.data}, the data is {data.summary()}")
    model = build(config, data)
    try:
        model.load_state_dict(stored.runs[config.losses[0]]["model"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the network in it does not fit its settings") from error
    if every_row:
        data = replace(data, test=torch.arange(len(data.rows)))
    return of_network(path, model.to(device), config, stored.epoch, data, device)


def of_network(
    origin: Path,
    model: Model,
    config: TrainConfig,
    epoch: int,
    data: DataSet,
    device: torch.device,
) -> Trained:
    """A network with the test rows of its data set."""
    held_out = None
    if config.without_label is not None:
        labels = data.labels
        assert labels is not None
        rest = data.test[labels[data.test] == config.without_label]
        held_out = as_tested(take(data.rows, rest), config, "held out").to(device)
        data = data.without(config.without_label)

    def of_test(numbers: Tensor | None) -> Tensor | None:
        return None if numbers is None else numbers[data.test].to(device)

    return Trained(
        source=origin,
        model=model.eval(),
        config=config,
        epoch=epoch,
        test=as_tested(take(data.rows, data.test), config, "test").to(device),
        labels=of_test(data.labels),
        label_names=data.label_names,
        given=of_test(data.given),
        held_out=held_out,
        shape=data.shape,
        unit=data.unit,
        device=device,
    )


def as_tested(rows: Tensor, config: TrainConfig, purpose: str) -> Tensor:
    """The rows, or with pixels drawn once where the training's are drawn."""
    return binarize(rows, generator(config.seed, purpose)) if config.binarize else rows
