"""Reference networks: users of the public functions, like any user's own network."""

from vae_fast.nets.mlp import MLPVAE, VAEOutput

__all__ = ["MLPVAE", "VAEOutput"]
