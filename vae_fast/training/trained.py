"""A trained network from its checkpoint, with the data that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vae_fast.nets import MLPVAE
from vae_fast.training import checkpoint, data
from vae_fast.training.batches import binarize, generator, to_input
from vae_fast.training.checkpoint import CheckpointError
from vae_fast.training.config import TrainConfig

BATCH = 1000


@dataclass(frozen=True)
class Trained:
    """The network in evaluation mode, its settings, and the test images as it was tested on."""

    model: MLPVAE
    config: TrainConfig
    epoch: int
    test: Tensor  # uint8 or bool [N, features], on the model's device
    labels: Tensor | None  # int64 [N], of the test images
    shape: tuple[int, int, int]
    device: torch.device

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of images [N, features] as in `test`; on the CPU."""
        parts = [self.model.encode(to_input(part)) for part in images.split(BATCH)]
        mu, logvar = (torch.cat(columns).cpu() for columns in zip(*parts, strict=True))
        return mu, logvar

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Expected pixels in [0, 1], [N, features], of z [N, latent]; on the CPU."""
        return torch.cat([self.model.pixels(part.to(self.device)) for part in z.split(BATCH)]).cpu()


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
    images = data.load(folder, config.dataset)
    if images.summary() != stored.data:
        raise CheckpointError(f"{path}: made with {stored.data}, the data is {images.summary()}")
    model = MLPVAE(images.features, config.hidden, config.latent, config.likelihood)
    try:
        model.load_state_dict(stored.runs[config.losses[0]]["model"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the network in it does not fit its settings") from error
    test = images.images[images.test]
    if config.binarize:
        test = binarize(test, generator(config.seed, "test"))
    labels = None if images.labels is None else images.labels[images.test]
    return Trained(
        model.to(device).eval(),
        config,
        stored.epoch,
        test.to(device),
        labels,
        images.shape,
        device,
    )
