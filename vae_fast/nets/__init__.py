"""Reference networks: users of the public functions, like any user's own network.

One file for each idea: `bodies` (fully connected, convolutional), `pixels` and `counts` (what their
distribution is), `model` (what all have in common), `autoencoder`, `vae` (also conditional), `flow`
and `categorical` (other posteriors).
"""

from vae_fast.nets.autoencoder import Autoencoder, DenoisingAutoencoder, SparseAutoencoder
from vae_fast.nets.categorical import CategoricalVAE
from vae_fast.nets.flow import FlowVAE
from vae_fast.nets.model import Architecture, Model, Output, Variational
from vae_fast.nets.vae import VAE

__all__ = [
    "VAE",
    "Architecture",
    "Autoencoder",
    "CategoricalVAE",
    "DenoisingAutoencoder",
    "FlowVAE",
    "Model",
    "Output",
    "SparseAutoencoder",
    "Variational",
]
