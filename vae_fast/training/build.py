"""The network that the settings of a run describe."""

from __future__ import annotations

from vae_fast import nets
from vae_fast.training.config import CONDITIONAL, TrainConfig
from vae_fast.training.data import DataError, DataSet


def build(config: TrainConfig, data: DataSet) -> nets.Model:
    """A new network for the rows of `data`; its weights come from PyTorch's generator.

    Raises:
        DataError: the rows do not fit the network, or a conditional one finds no labels.
    """
    classes = 0
    if config.model == "cvae" and data.given is None:
        raise DataError(f"{data.name}: has no labels, which the model cvae needs")
    if data.given is not None and config.model in CONDITIONAL:
        classes = int(data.given.max()) + 1
    try:
        architecture = nets.Architecture(
            shape=data.shape,
            latent=config.latent,
            hidden=config.hidden,
            network="counts" if config.model == "scvi" else config.network,
            activation=config.activation,
            likelihood=config.likelihood,
            dispersion=config.dispersion,
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
