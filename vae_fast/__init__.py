"""Fused loss layer of variational autoencoders: sampling, KL and reconstruction in one pass."""

from .categorical import categorical_kl, gumbel_softmax_kl
from .functional import (
    ELBO,
    bernoulli_nll,
    elbo_loss,
    gaussian_kl,
    gaussian_nll,
    reparameterize,
    reparameterize_kl,
    vae_loss,
)
from .modules import ELBOLoss
from .ops.backend import backend, get_backend, set_backend
from .version import __version__

__all__ = [
    "ELBO",
    "ELBOLoss",
    "__version__",
    "backend",
    "bernoulli_nll",
    "categorical_kl",
    "elbo_loss",
    "gaussian_kl",
    "gaussian_nll",
    "get_backend",
    "gumbel_softmax_kl",
    "reparameterize",
    "reparameterize_kl",
    "set_backend",
    "vae_loss",
]
