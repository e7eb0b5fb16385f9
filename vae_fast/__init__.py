"""Fused loss layer of variational autoencoders: sampling, KL and reconstruction in one pass."""

from .categorical import categorical_kl, gumbel_softmax_kl
from .count_likelihood import (
    negative_binomial_mixture_nll,
    negative_binomial_nll,
    zero_inflated_negative_binomial_nll,
)
from .functional import ELBO, elbo_loss, vae_loss
from .latent import gaussian_kl, reparameterize, reparameterize_kl
from .likelihood import bernoulli_nll, gaussian_nll, laplace_nll, poisson_nll
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
    "laplace_nll",
    "negative_binomial_mixture_nll",
    "negative_binomial_nll",
    "poisson_nll",
    "reparameterize",
    "reparameterize_kl",
    "set_backend",
    "vae_loss",
    "zero_inflated_negative_binomial_nll",
]
