"""The public functions: documented, checked, in nats.

Shapes are ``[B, ...]``: the first dimension is the batch, all others are event dimensions.
``reduction`` is one of

* ``"none"``: one value per element;
* ``"sample"``: summed over the event, one value per sample, ``[B]``;
* ``"batchmean"``: summed over the event, averaged over the batch: the ELBO's convention, the
  default;
* ``"sum"``: summed over everything;
* ``"mean"``: averaged over all elements, as in `torch.nn.functional`.

Parameters may be float32, float64, bfloat16 or float16. Arithmetic and results are float32, or
float64 for float64 parameters; gradients and samples have the dtype of their inputs. NaN and
infinity propagate.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from . import checks
from .ops import latent
from .ops.likelihood import elbo as _elbo_operator
from .seeds import key_of_noise

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LIKELIHOODS = {"bernoulli": 0, "gaussian": 1}


def check_likelihood(name: str) -> str:
    """The name of a known likelihood; raises ValueError otherwise."""
    if not isinstance(name, str) or name not in _LIKELIHOODS:
        known = ", ".join(map(repr, _LIKELIHOODS))
        raise ValueError(f"likelihood: got {name!r}, expected one of {known}")
    return name


class ELBO(NamedTuple):
    """What `elbo_loss` returns; ``recon`` and ``kl`` are detached and unscaled, for logging."""

    loss: Tensor
    recon: Tensor
    kl: Tensor


def _seed_and_eps(
    mu: Tensor,
    eps: Tensor | None,
    seed: int | Tensor | None,
    generator: torch.Generator | None,
    num_samples: int | None,
) -> tuple[Tensor | None, Tensor | None]:
    if num_samples is not None:
        if isinstance(num_samples, bool) or not isinstance(num_samples, (int, torch.SymInt)):
            raise TypeError(f"num_samples: expected an int, got {type(num_samples).__name__}")
        if num_samples < 1:
            raise ValueError(f"num_samples: got {num_samples}, expected at least 1")
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


def _same_dtype(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
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
    mu, logvar = _same_dtype(mu, logvar)
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
    mu, logvar = _same_dtype(mu, logvar)
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
    mu, logvar = _same_dtype(mu, logvar)
    code = checks.reduction_code(reduction)
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


def _target(params: Tensor, name: str, target: Tensor) -> Tensor:
    """Checks the target against parameters [B, ...] or [L, B, ...]."""
    checks.require_target(target)
    if params.device != target.device:
        checks.require_same_device("target", target, name, params)
    shape, target_shape = params.shape, target.shape
    if shape != target_shape and (len(target_shape) == 0 or shape[1:] != target_shape):
        raise ValueError(
            f"target: got shape {checks.shape_of(target)}, expected that of {name},"
            f" {checks.shape_of(params)}, or the same without a leading sample dimension"
        )
    if len(shape) > len(target_shape) and shape[0] == 0:
        shown = checks.shape_of(params)
        raise ValueError(f"{name}: got shape {shown}, expected at least one Monte Carlo sample")
    return target


def _weight(weight: Tensor | None, target: Tensor) -> Tensor | None:
    if weight is None:
        return None
    checks.require_tensor("weight", weight)
    if weight.dtype not in checks.TARGET_DTYPES or weight.dtype == torch.uint8:
        raise TypeError(
            f"weight: got dtype {weight.dtype}, expected bool or a floating-point dtype"
        )
    checks.require_same_device("weight", weight, "target", target)
    return checks.expand("weight", weight, "target", target)


def _likelihood_logvar(logvar: Tensor | None, name: str, mean: Tensor) -> Tensor | None:
    if logvar is None:
        return None
    checks.require_tensor(name, logvar)
    if logvar.dtype not in checks.PARAMETER_DTYPES:
        raise TypeError(f"{name}: got dtype {logvar.dtype}, expected a floating-point dtype")
    checks.require_same_device(name, logvar, "the mean", mean)
    # One shared log-variance stays a scalar: the kernel takes its exponential once.
    if logvar.dim() <= 1 and logvar.numel() == 1:
        return logvar.reshape(()) if logvar.dim() else logvar
    return checks.expand(name, logvar, "the mean", mean)


def bernoulli_nll(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    reduction: str = "batchmean",
) -> Tensor:
    r"""Binary cross entropy with logits, :math:`-\log p(t)` of a Bernoulli, in nats.

    .. math:: (1 - t)\, x + \log(1 + e^{-x})

    Args:
        logits: x, ``[B, ...]``, or ``[L, B, ...]`` with L Monte Carlo samples, over which "sample",
            "batchmean" and "sum" average.
        target: t, ``[B, ...]``: floating point, bool, or uint8 (read as t / 255).
        weight: factor of each element, broadcastable to ``target``.
        reduction: see the module.

    Returns:
        float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not match, or an unknown reduction.

    Source: `torch.nn.functional.binary_cross_entropy_with_logits`.
    """
    checks.require_parameter("logits", logits)
    code = checks.reduction_code(reduction)
    target = _target(logits, "logits", target)
    weight = _weight(weight, target)
    return _elbo_operator(logits, None, target, weight, None, None, None, None, 0.0, 0, 0.0, code)[
        0
    ]


def gaussian_nll(
    mean: Tensor,
    target: Tensor,
    logvar: Tensor | None = None,
    *,
    full: bool = True,
    weight: Tensor | None = None,
    reduction: str = "batchmean",
) -> Tensor:
    r"""Negative log-likelihood of a Gaussian, in nats.

    .. math:: \tfrac12 \left( (t - \text{mean})^2 e^{-\text{logvar}} + \text{logvar}
              + \log 2\pi \right)

    Args:
        mean: ``[B, ...]``, or ``[L, B, ...]`` with L Monte Carlo samples, over which "sample",
            "batchmean" and "sum" average.
        target: t, ``[B, ...]``: floating point, bool, or uint8 (read as t / 255).
        logvar: log-variance: None for 0 (half the squared error and a constant), one element
            shared by all, or broadcastable to ``mean``. Has a gradient.
        full: whether the constant ½ log 2π per element is included.
        weight: factor of each element, broadcastable to ``target``.
        reduction: see the module.

    Returns:
        float32, or float64 for a float64 mean.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not match, or an unknown reduction.

    Source: Kingma and Welling 2013, appendix C.2; Rybkin et al. 2021 (sigma-VAE) for the shared
    one.
    """
    checks.require_parameter("mean", mean)
    code = checks.reduction_code(reduction)
    target = _target(mean, "mean", target)
    logvar = _likelihood_logvar(logvar, "logvar", mean)
    weight = _weight(weight, target)
    constant = _HALF_LOG_2PI if full else 0.0
    return _elbo_operator(
        mean, logvar, target, weight, None, None, None, None, 0.0, 1, constant, code
    )[0]


def elbo_loss(
    params: Tensor | tuple[Tensor, Tensor],
    target: Tensor,
    *,
    kl: Tensor | None = None,
    mu: Tensor | None = None,
    logvar: Tensor | None = None,
    beta: float | Tensor = 1.0,
    likelihood: str = "bernoulli",
    weight: Tensor | None = None,
    reduction: str = "batchmean",
) -> ELBO:
    r"""The negative evidence lower bound with its two parts, in one kernel.

    .. math:: -\log p(t \mid \text{params}) + \beta\, KL(q \,\|\, p)

    Args:
        params: parameters of the likelihood, ``[B, ...]`` or, for L Monte Carlo samples of the
            latent, ``[L, B, ...]``, over which the reconstruction is averaged: logits for
            "bernoulli"; the mean or ``(mean, logvar)`` for "gaussian" (see `gaussian_nll`, constant
            included).
        target: ``[B, ...]``: floating point, bool, or uint8 (read as t / 255).
        kl: KL per sample, ``[B]``, from `reparameterize_kl`; or else
        mu: means of q, ``[B, ...]``, and
        logvar: log-variances of q, for the KL to N(0, I).
        beta: weight of the KL, a number or a 0-dimensional tensor.
        likelihood: "bernoulli" or "gaussian".
        weight: factor of each element of the reconstruction, broadcastable to ``target``.
        reduction: "sample", "batchmean" or "sum".

    Returns:
        ``ELBO(loss, recon, kl)``; ``recon`` and ``kl`` are reduced like the loss, detached, and
        without beta.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not match, both or neither of ``kl`` and
            ``mu``/``logvar``, an unknown likelihood, or a reduction that mixes terms of different
            sizes.

    Source: Kingma and Welling 2013, equation 3; Higgins et al. 2017 for beta.
    """
    kind = _LIKELIHOODS[check_likelihood(likelihood)]
    param_logvar: Tensor | None = None
    constant = 0.0
    name = "params"
    if kind == 1:
        constant = _HALF_LOG_2PI
        if isinstance(params, (tuple, list)):
            if len(params) != 2:
                raise ValueError(f"params: got {len(params)} tensors, expected (mean, logvar)")
            params, param_logvar = params
            name = "params[0]"
    checks.require_parameter(name, params)
    assert isinstance(params, Tensor)
    target = _target(params, name, target)
    param_logvar = _likelihood_logvar(param_logvar, "params[1]", params)
    weight = _weight(weight, target)
    return ELBO(
        *_elbo(
            params, param_logvar, target, weight, kl, mu, logvar, beta, kind, constant, reduction
        )
    )


def vae_loss(
    logits: Tensor,
    target: Tensor,
    mu: Tensor,
    logvar: Tensor,
    *,
    beta: float | Tensor = 1.0,
    reduction: str = "batchmean",
) -> Tensor:
    """The loss of the classic VAE from decoder logits and encoder outputs, in one kernel.

    `bernoulli_nll` plus beta times `gaussian_kl`. With ``reduction="sum"`` it is the
    ``loss_function`` of pytorch/examples, on logits instead of probabilities.

    Args:
        logits: ``[B, ...]``, or ``[L, B, ...]`` with L Monte Carlo samples.
        target: ``[B, ...]``: floating point, bool, or uint8 (read as t / 255).
        mu: means of q, ``[B, ...]``.
        logvar: log-variances of q, the shape of ``mu``.
        beta: weight of the KL, a number or a 0-dimensional tensor.
        reduction: "sample", "batchmean" or "sum".

    Returns:
        The loss in nats.

    Raises:
        TypeError: see `elbo_loss`.
        ValueError: see `elbo_loss`.

    Source: pytorch/examples, ``vae/main.py``.
    """
    checks.require_parameter("logits", logits)
    target = _target(logits, "logits", target)
    return _elbo(logits, None, target, None, None, mu, logvar, beta, 0, 0.0, reduction)[0]


def _elbo(
    param: Tensor,
    param_logvar: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
    kl: Tensor | None,
    mu: Tensor | None,
    logvar: Tensor | None,
    beta: float | Tensor,
    kind: int,
    constant: float,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    code = checks.reduction_code(reduction, per_sample_only=True)
    if kl is not None:
        if mu is not None or logvar is not None:
            raise ValueError("kl, mu, logvar: got kl and mu or logvar, expected one or the other")
        kl = _given_kl(kl, target)
    else:
        if mu is None or logvar is None:
            raise ValueError("kl, mu, logvar: expected either kl or both mu and logvar")
        checks.require_latent(mu, logvar)
        mu, logvar = _same_dtype(mu, logvar)
        if mu.shape[0] != target.shape[0]:
            raise ValueError(
                f"mu: got a batch of {mu.shape[0]}, expected {target.shape[0]} as in target"
            )
        if mu.device != target.device:
            checks.require_same_device("mu", mu, "target", target)
    beta_tensor: Tensor | None = None
    if isinstance(beta, Tensor):
        if beta.dim() != 0 or not beta.is_floating_point():
            raise ValueError(
                f"beta: got a tensor of {beta.dtype} and shape {checks.shape_of(beta)}, expected a"
                " number or a 0-dimensional floating-point tensor"
            )
        checks.require_same_device("beta", beta, "target", target)
        beta_tensor, beta = beta, 1.0
    elif not isinstance(beta, (float, int, torch.SymFloat)):
        raise TypeError(f"beta: expected a number or a tensor, got {type(beta).__name__}")
    elif beta != 1.0 and torch.compiler.is_compiling():
        # As a tensor it may change without a new compilation; a product stays symbolic.
        beta_tensor = torch.ones((), dtype=torch.float64, device=target.device) * beta
        beta = 1.0
    return _elbo_operator(
        param,
        param_logvar,
        target,
        weight,
        kl,
        mu,
        logvar,
        beta_tensor,
        beta,
        kind,
        constant,
        code,
    )


def _given_kl(kl: Tensor, target: Tensor) -> Tensor:
    checks.require_tensor("kl", kl)
    if kl.dim() != 1 or kl.shape[0] != target.shape[0]:
        raise ValueError(
            f"kl: got shape {checks.shape_of(kl)}, expected one value per sample,"
            f" [{target.shape[0]}]"
        )
    if kl.dtype not in checks.PARAMETER_DTYPES:
        raise TypeError(f"kl: got dtype {kl.dtype}, expected a floating-point dtype")
    if kl.device != target.device:
        checks.require_same_device("kl", kl, "target", target)
    return kl
