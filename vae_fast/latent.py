"""Public functions of the Gaussian latent: sampling and KL. Conventions: `vae_fast.functional`."""

from __future__ import annotations

import torch
from torch import Tensor

from . import checks
from .ops import latent
from .reference.reduce import DRAW, SAMPLE
from .seeds import key_of_noise


def _seed_and_eps(
    mu: Tensor,
    eps: Tensor | None,
    seed: int | Tensor | None,
    generator: torch.Generator | None,
    num_samples: int | None,
) -> tuple[Tensor | None, Tensor | None]:
    if eps is None:
        return key_of_noise(mu, seed, generator), None
    if seed is not None or generator is not None:
        raise ValueError("eps, seed and generator: got more than one, expected at most one")
    checks.require_parameter("eps", eps)
    shape = mu.shape if num_samples is None else torch.Size((num_samples, *mu.shape))
    if eps.shape != shape:
        raise ValueError(
            f"eps: got shape {checks.shape_of(eps)}, expected the shape of z, {list(shape)}"
        )
    checks.require_same_device("eps", eps, "mu", mu)
    return None, eps


def same_dtype(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the wider of their dtypes."""
    if mu.dtype == logvar.dtype:
        return mu, logvar
    dtype = torch.promote_types(mu.dtype, logvar.dtype)
    return mu.to(dtype), logvar.to(dtype)


def reparameterize(
    mu: Tensor,
    logvar: Tensor,
    *,
    eps: Tensor | None = None,
    seed: int | Tensor | None = None,
    generator: torch.Generator | None = None,
    num_samples: int | None = None,
) -> Tensor:
    r"""Samples :math:`z = \mu + e^{\text{logvar}/2} \odot \epsilon,\ \epsilon \sim N(0, I)`.

    The noise is never stored: the backward draws it again from the seed. It is a function of the
    seed and the element's number alone, the same for every dtype, thread count and machine.

    Args:
        mu: means, ``[B, ...]``.
        logvar: log-variances, the shape of ``mu``.
        eps: the noise itself, of the shape of z.
        seed: key of the noise, an int or an int64 tensor with one element. By default it is drawn
            from ``generator``, so that `torch.manual_seed` works as for `torch.randn`.
        generator: generator for the seed; PyTorch's default one if not given.
        num_samples: L draws for each mean; the result is then ``[L, B, ...]``.

    Returns:
        z of the shape of ``mu`` (with ``num_samples`` in front), in its dtype.

    Raises:
        TypeError: an argument is no tensor or not floating point.
        ValueError: shapes or devices do not match, ``num_samples < 1``, or more than one of
            ``eps``, ``seed`` and ``generator``.

    Source: Kingma and Welling 2013, Auto-Encoding Variational Bayes, section 2.4.
    """
    checks.require_latent(mu, logvar)
    mu, logvar = same_dtype(mu, logvar)
    num_samples = checks.count_or_none("num_samples", num_samples)
    key, eps = _seed_and_eps(mu, eps, seed, generator, num_samples)
    return latent.reparameterize_kl(mu, logvar, key, eps, num_samples, False)[0]


def reparameterize_kl(
    mu: Tensor,
    logvar: Tensor,
    *,
    eps: Tensor | None = None,
    seed: int | Tensor | None = None,
    generator: torch.Generator | None = None,
    num_samples: int | None = None,
) -> tuple[Tensor, Tensor]:
    r"""`reparameterize` and `gaussian_kl` to N(0, I) in one kernel, forward and backward.

    Args:
        mu: means, ``[B, ...]``.
        logvar: log-variances, the shape of ``mu``.
        eps: see `reparameterize`.
        seed: see `reparameterize`.
        generator: see `reparameterize`.
        num_samples: see `reparameterize`.

    Returns:
        ``(z, kl)``: z as from `reparameterize`; kl of shape ``[B]``,
        :math:`\tfrac12 \sum_j (\mu_j^2 + e^{\text{logvar}_j} - 1 - \text{logvar}_j)` in nats,
        float32 (float64 for float64 inputs).

    Raises:
        TypeError: see `reparameterize`.
        ValueError: see `reparameterize`.

    Source: Kingma and Welling 2013, Auto-Encoding Variational Bayes, appendix B.
    """
    checks.require_latent(mu, logvar)
    mu, logvar = same_dtype(mu, logvar)
    num_samples = checks.count_or_none("num_samples", num_samples)
    key, eps = _seed_and_eps(mu, eps, seed, generator, num_samples)
    return latent.reparameterize_kl(mu, logvar, key, eps, num_samples, True)


def gaussian_kl(
    mu: Tensor,
    logvar: Tensor,
    prior_mu: Tensor | None = None,
    prior_logvar: Tensor | None = None,
    *,
    reduction: str = "batchmean",
) -> Tensor:
    r"""KL divergence of a diagonal Gaussian to N(0, I) or to another diagonal Gaussian, in nats.

    .. math:: \tfrac12 \left( (\mu - \mu')^2 e^{-\text{logvar}'} + e^d - 1 - d \right),\quad
              d = \text{logvar} - \text{logvar}'

    evaluated without cancellation: never negative, and right down to logvar close to the prior's.

    Args:
        mu: means of q, ``[B, ...]``.
        logvar: log-variances of q, the shape of ``mu``.
        prior_mu: means of p, broadcastable to ``mu``; 0 by default. Has a gradient.
        prior_logvar: log-variances of p, broadcastable to ``mu``; 0 by default. Has a gradient.
        reduction: see the module.

    Returns:
        KL(q || p), float32 (float64 for float64 inputs).

    Raises:
        TypeError: an argument is no tensor or not floating point.
        ValueError: shapes or devices do not match, or an unknown reduction.

    Source: Kingma and Welling 2013, appendix B; `torch.distributions.kl_divergence` of two Normals.
    """
    checks.require_latent(mu, logvar)
    mu, logvar = same_dtype(mu, logvar)
    code = checks.reduction_code(reduction)
    if code == DRAW:  # there are no draws
        code = SAMPLE
    if prior_mu is not None:
        prior_mu = _prior("prior_mu", prior_mu, mu)
    if prior_logvar is not None:
        prior_logvar = _prior("prior_logvar", prior_logvar, mu)
    return latent.gaussian_kl(mu, logvar, prior_mu, prior_logvar, code)


def _prior(name: str, value: Tensor, mu: Tensor) -> Tensor:
    checks.require_tensor(name, value)
    if value.dtype not in checks.PARAMETER_DTYPES:
        raise TypeError(f"{name}: got dtype {value.dtype}, expected a floating-point dtype")
    checks.require_same_device(name, value, "mu", mu)
    return checks.expand(name, value, "mu", mu)
