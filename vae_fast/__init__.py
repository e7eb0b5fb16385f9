"""Fused loss layer of variational autoencoders: sampling, KL and reconstruction in one pass."""

from torch.fx import wrap as _wrap

from .categorical import categorical_kl, gumbel_softmax_kl
from .count_likelihood import (
    negative_binomial_mixture_nll,
    negative_binomial_nll,
    poisson_nll,
    zero_inflated_negative_binomial_nll,
)
from .functional import ELBO, elbo_loss, vae_loss
from .latent import gaussian_kl, reparameterize, reparameterize_kl
from .likelihood import bernoulli_nll, gaussian_nll, laplace_nll
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

# `torch.fx.symbolic_trace` records a call of each of these and does not look into it.
_wrap("bernoulli_nll")
_wrap("categorical_kl")
_wrap("elbo_loss")
_wrap("gaussian_kl")
_wrap("gaussian_nll")
_wrap("gumbel_softmax_kl")
_wrap("laplace_nll")
_wrap("negative_binomial_mixture_nll")
_wrap("negative_binomial_nll")
_wrap("poisson_nll")
_wrap("reparameterize")
_wrap("reparameterize_kl")
_wrap("vae_loss")
_wrap("zero_inflated_negative_binomial_nll")
