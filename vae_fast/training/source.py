"""The data set that a run's settings name."""

from __future__ import annotations

from vae_fast.training import counts, images
from vae_fast.training.config import TrainConfig
from vae_fast.training.data import DataSet


def load(path: str | None, config: TrainConfig, name: str | None) -> DataSet:
    """Counts for the model of counts, else images.

    Args:
        path: what --data names, see `images.load` and `counts.load`.
        config: the settings.
        name: of the data set; None: the first one found.

    Raises:
        DataError: no such data, or damaged.
        MissingPackageError: reading them needs a package.
    """
    if config.model != "scvi":
        return images.load(path, name, config.split)
    columns = counts.Columns(config.label_key, config.covariate_key, config.layer)
    return counts.load(path, name, config.split, columns)
