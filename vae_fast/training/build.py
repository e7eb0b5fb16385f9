"""The network that the settings of a run describe."""

from __future__ import annotations

from vae_fast import nets
from vae_fast.training.config import TrainConfig
from vae_fast.training.data import DataError, ImageData


def build(config: TrainConfig, data: ImageData) -> nets.Model:
    """A new network for the images of `data`; its weights come from PyTorch's generator.

    Raises:
        DataError: the images do not fit the network, or a conditional one finds no labels.
    """
    classes = 0
    if config.model == "cvae":
        if data.labels is None:
            raise DataError(f"{data.name}: has no labels, which the model cvae needs")
        classes = int(data.labels.max()) + 1
    try:
        architecture = nets.Architecture(
            shape=data.shape,
            latent=config.latent,
            hidden=config.hidden,
            network=config.network,
            activation=config.activation,
            likelihood=config.likelihood,
            classes=classes,
        )
    except ValueError as error:
        raise DataError(f"{data.name}: {error}") from error
    if config.model == "ae":
        return nets.Autoencoder(architecture)
    if config.model == "denoising-ae":
        return nets.DenoisingAutoencoder(architecture, config.corruption, config.corruption_level)
    if config.model == "sparse-ae":
        return nets.SparseAutoencoder(architecture, config.sparsity)
    if config.model == "flow-vae":
        return nets.FlowVAE(architecture, config.flow, config.flow_steps)
    if config.model == "categorical-vae":
        return nets.CategoricalVAE(architecture, config.categories)
    return nets.VAE(architecture)
