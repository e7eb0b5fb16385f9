"""The public functions' conventions, and the losses made of several terms.

Shapes are ``[B, ...]``: the first dimension is the batch, all others are event dimensions.
``reduction`` is one of

* ``"none"``: one value per element;
* ``"sample"``: summed over the event, one value per sample, ``[B]``;
* ``"draw"``: of parameters with a leading Monte Carlo dimension, ``[L, B, ...]``, one value per
  draw and sample, ``[L, B]``, as importance-weighted bounds need them; without one as ``"sample"``;
* ``"batchmean"``: summed over the event, averaged over the batch: the ELBO's convention, the
  default;
* ``"sum"``: summed over everything;
* ``"mean"``: averaged over all elements, as in `torch.nn.functional`; with a mask over those that
  are kept.

``"sample"``, ``"batchmean"`` and ``"sum"`` average over Monte Carlo draws.

Parameters may be float32, float64, bfloat16 or float16. Arithmetic and results are float32, or
float64 where the first parameter is float64; gradients and samples have the dtype of their inputs.
NaN and infinity propagate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.fx
from torch import Tensor

from . import checks, likelihoods
from .latent import same_dtype
from .likelihood import checked_params, checked_target, checked_weight
from .ops.likelihood import elbo as _elbo_operator
from .sparse import beside_the_compiler, split


class ELBO(NamedTuple):
    """What `elbo_loss` returns; ``recon`` and ``kl`` are detached and unscaled, for logging."""

    loss: Tensor
    recon: Tensor
    kl: Tensor


def elbo_loss(
    params: Tensor | Sequence[Tensor],
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
        params: parameters of the likelihood, a tensor or a tuple in the order of its function, the
            target left out: for "bernoulli" logits, for "gaussian" the mean or ``(mean, logvar)``,
            for "laplace" loc or ``(loc, logscale)``, for "poisson" log_rate, for
            "negative_binomial" ``(mu, theta)``, for "zero_inflated_negative_binomial"
            ``(mu, theta, gate_logits)``, for "negative_binomial_mixture"
            ``(mu1, theta1, mu2, mixture_logits)``, maybe with ``theta2``. The first one
            ``[B, ...]`` or, for L Monte Carlo samples of the latent, ``[L, B, ...]``, over which
            the reconstruction is averaged; the others broadcast to it. Constants are included.
        target: ``[B, ...]``, as the likelihood's function takes it.
        kl: KL per sample, ``[B]``, from `reparameterize_kl`; or else
        mu: means of q, ``[B, ...]``, and
        logvar: log-variances of q, for the KL to N(0, I).
        beta: weight of the KL, a number or a 0-dimensional tensor.
        likelihood: "bernoulli", "gaussian", "laplace", "poisson", "negative_binomial",
            "zero_inflated_negative_binomial" or "negative_binomial_mixture".
        weight: factor of each element of the reconstruction, broadcastable to ``target``; bool is a
            mask, see `bernoulli_nll`.
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
    call = beside_the_compiler(_elbo_of, target)
    return ELBO(*call(params, target, kl, mu, logvar, beta, likelihood, weight, reduction))


def _elbo_of(
    params: Tensor | Sequence[Tensor],
    target: Tensor,
    kl: Tensor | None,
    mu: Tensor | None,
    logvar: Tensor | None,
    beta: float | Tensor,
    likelihood: str,
    weight: Tensor | None,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    row = likelihoods.find(likelihood)
    several = isinstance(params, (tuple, list))
    listed: list[Any] = list(params) if several else [params]
    if not row.required <= len(listed) <= len(row.parameters):
        expected = ", ".join(p.name for p in row.parameters)
        raise ValueError(f"params: got {len(listed)} tensors, expected ({expected})")
    names = [f"params[{k}]" for k in range(len(listed))] if several else ["params"]
    target = checked_target(row, listed[0], names[0], target)
    bound = checked_params(listed, names, target)
    weight = checked_weight(weight, target)
    return _elbo(row, bound, target, weight, kl, mu, logvar, beta, reduction)


torch.fx.wrap("elbo_loss")  # for `ELBOLoss`


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
    row = likelihoods.BERNOULLI
    target = checked_target(row, logits, "logits", target)
    return _elbo(row, [logits], target, None, None, mu, logvar, beta, reduction)[0]


def _elbo(
    row: likelihoods.Likelihood,
    params: list[Tensor],
    target: Tensor,
    weight: Tensor | None,
    kl: Tensor | None,
    mu: Tensor | None,
    logvar: Tensor | None,
    beta: float | Tensor,
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
        mu, logvar = same_dtype(mu, logvar)
        if mu.shape[0] != target.shape[0]:
            raise ValueError(
                f"mu: got a batch of {mu.shape[0]}, expected {target.shape[0]} as in target"
            )
        if mu.device != target.device:
            checks.require_same_device("mu", mu, "target", target)
    factor, beta_tensor = checks.factor("beta", beta, "target", target)
    return _elbo_operator(
        params,
        *split(target),
        weight,
        kl,
        mu,
        logvar,
        beta_tensor,
        factor,
        row.code,
        row.full_constants,
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
