"""Public functions of likelihoods of counts. Conventions: `vae_fast.functional`."""

from __future__ import annotations

import torch
from torch import Tensor

from . import checks, likelihoods
from .likelihood import nll
from .likelihoods import Likelihood


def poisson_nll(
    log_rate: Tensor,
    target: Tensor,
    *,
    mean: str = "given",
    library: Tensor | None = None,
    full: bool = True,
    weight: Tensor | None = None,
    reduction: str = "batchmean",
) -> Tensor:
    r"""Negative log-likelihood of a Poisson distribution of counts, in nats.

    .. math:: e^r - t\, r + \log \Gamma(t + 1)

    evaluated without cancellation, however large the counts are.

    Args:
        log_rate: r, ``[B, ...]``, or ``[L, B, ...]`` with L Monte Carlo samples, over which
            "sample", "batchmean" and "sum" average. With ``mean="softmax"`` logits.
        target: t, ``[B, ...]``: counts of any integer dtype (uint8 is the number itself), bool or
            floating point, or a `torch.sparse_csr` matrix. Fractions are computed as the formula
            says; with ``full`` a target of -1 or less gives NaN.
        mean: "given", or "softmax": the rate is library · softmax(log_rate) over the event, see
            `negative_binomial_nll`.
        library: size of each sample, ``[B]`` or ``[B, 1]``, with ``mean="softmax"``.
        full: whether log Γ(t + 1), which does not depend on the rate, is included.
        weight: see `bernoulli_nll`.
        reduction: see the module.

    Returns:
        float32, or float64 for a float64 log-rate.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not match, an unknown reduction or mean, ``library``
            without ``mean="softmax"`` or the other way round, or a sparse target whose columns do
            not ascend or repeat.

    Source: `torch.distributions.Poisson`; `torch.nn.functional.poisson_nll_loss`, whose
    ``full=True`` is Stirling's approximation.
    """
    row = likelihoods.POISSON
    params = [log_rate]
    if asks_for_softmax(mean, library):
        params.append(log_sizes("log_rate", log_rate, library, target))
    return nll(row, params, target, row.chosen(full), weight, reduction)


def negative_binomial_nll(
    mu: Tensor,
    target: Tensor,
    theta: Tensor,
    *,
    log_input: bool = False,
    mean: str = "given",
    library: Tensor | None = None,
    full: bool = True,
    weight: Tensor | None = None,
    reduction: str = "batchmean",
) -> Tensor:
    r"""Negative log-likelihood of a negative binomial of counts, in nats.

    .. math:: \log\frac{\Gamma(\theta)\,\Gamma(t + 1)}{\Gamma(t + \theta)}
              - \theta \log\frac{\theta}{\theta + \mu} - t \log\frac{\mu}{\theta + \mu}

    of a mean and an inverse dispersion, with variance :math:`\mu + \mu^2 / \theta`; evaluated
    without cancellation at every dispersion, up to the limit of a Poisson distribution.

    Args:
        mu: the mean, positive, ``[B, ...]``, or ``[L, B, ...]`` with L Monte Carlo samples, over
            which "sample", "batchmean" and "sum" average. With ``log_input`` its logarithm, with
            ``mean="softmax"`` logits.
        target: t, ``[B, ...]``: counts of any integer dtype (uint8 is the number itself), bool or
            floating point, or a `torch.sparse_csr` matrix ``[B, G]``, which is never made dense.
            Fractions are computed as the formula says; -1 and less give NaN.
        theta: inverse dispersion, positive, broadcastable to ``mu``: one for all, per column (the
            event's shape, a value per gene; or the same expanded over the batch), per sample
            (``[B, 1, ...]``) or per element. With ``log_input`` its logarithm. Has a gradient of
            its own shape, summed in the kernel.
        log_input: whether ``mu`` and ``theta`` are given as logarithms, of any size.
        mean: "given", or "softmax": the mean is library · softmax(mu) over the event, as in scVI
            and in topic models; its logarithm is what is computed, so that nothing underflows.
        library: size of each sample, ``[B]`` or ``[B, 1]``, positive, of any dtype, with
            ``mean="softmax"``. Has a gradient where it is floating point.
        full: whether log Γ(t + 1), which does not depend on parameters, is included.
        weight: see `bernoulli_nll`.
        reduction: see the module.

    Returns:
        float32, or float64 for a float64 mean.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not match, an unknown reduction or mean, ``library``
            without ``mean="softmax"`` or the other way round, or a sparse target whose columns do
            not ascend or repeat.

    Source: Lopez et al. 2018 (scVI); ``scvi.distributions.NegativeBinomial``.
    """
    row = likelihoods.NEGATIVE_BINOMIAL
    return _counts(row, [mu, theta], target, log_input, mean, library, full, weight, reduction)


def zero_inflated_negative_binomial_nll(
    mu: Tensor,
    target: Tensor,
    theta: Tensor,
    gate_logits: Tensor,
    *,
    log_input: bool = False,
    mean: str = "given",
    library: Tensor | None = None,
    full: bool = True,
    weight: Tensor | None = None,
    reduction: str = "batchmean",
) -> Tensor:
    r"""Negative log-likelihood of a negative binomial with extra zeros, in nats.

    .. math:: -\log\left(\sigma(g)\,[t = 0] + \sigma(-g)\,
              \mathrm{NB}(t \mid \mu, \theta)\right)

    Args:
        mu: see `negative_binomial_nll`.
        target: see `negative_binomial_nll`.
        theta: see `negative_binomial_nll`.
        gate_logits: g, the log-odds of an extra zero, broadcastable to ``mu`` as ``theta`` is.
        log_input: whether ``mu`` and ``theta`` are given as logarithms.
        mean: "given" or "softmax".
        library: size of each sample, with ``mean="softmax"``.
        full: whether log Γ(t + 1) is included.
        weight: see `bernoulli_nll`.
        reduction: see the module.

    Returns:
        float32, or float64 for a float64 mean.

    Raises:
        TypeError: see `negative_binomial_nll`.
        ValueError: see `negative_binomial_nll`.

    Source: Lopez et al. 2018 (scVI); ``scvi.distributions.ZeroInflatedNegativeBinomial``.
    """
    row = likelihoods.ZERO_INFLATED_NEGATIVE_BINOMIAL
    params = [mu, theta, gate_logits]
    return _counts(row, params, target, log_input, mean, library, full, weight, reduction)


def negative_binomial_mixture_nll(
    mu1: Tensor,
    target: Tensor,
    theta1: Tensor,
    mu2: Tensor,
    mixture_logits: Tensor,
    theta2: Tensor | None = None,
    *,
    log_input: bool = False,
    full: bool = True,
    weight: Tensor | None = None,
    reduction: str = "batchmean",
) -> Tensor:
    r"""Negative log-likelihood of a mixture of two negative binomials, in nats.

    .. math:: -\log\left(\sigma(g)\,\mathrm{NB}(t \mid \mu_1, \theta_1)
              + \sigma(-g)\,\mathrm{NB}(t \mid \mu_2, \theta_2)\right)

    Args:
        mu1: mean of the first component, see ``mu`` of `negative_binomial_nll`.
        target: see `negative_binomial_nll`.
        theta1: its inverse dispersion, broadcastable to ``mu1``.
        mu2: mean of the second component, broadcastable to ``mu1``.
        mixture_logits: g, the log-odds of the first component, broadcastable to ``mu1``.
        theta2: inverse dispersion of the second component; None for ``theta1``.
        log_input: whether means and inverse dispersions are given as logarithms.
        full: whether log Γ(t + 1) is included.
        weight: see `bernoulli_nll`.
        reduction: see the module.

    Returns:
        float32, or float64 for a float64 mean.

    Raises:
        TypeError: see `negative_binomial_nll`.
        ValueError: see `negative_binomial_nll`.

    Source: Gayoso et al. 2021 (totalVI); scvi-tools, ``log_mixture_nb``.
    """
    row = likelihoods.NEGATIVE_BINOMIAL_MIXTURE
    params = [mu1, theta1, mu2, mixture_logits]
    if theta2 is not None:
        params.append(theta2)
    return nll(row, params, target, row.chosen(full, log_input), weight, reduction)


def _counts(
    row: Likelihood,
    params: list[Tensor],
    target: Tensor,
    log_input: bool,
    mean: str,
    library: Tensor | None,
    full: bool,
    weight: Tensor | None,
    reduction: str,
) -> Tensor:
    """Of a negative binomial, whose mean may be a share of the library's size."""
    softmax = asks_for_softmax(mean, library)
    if softmax:
        logits, theta, *others = params
        log_theta = theta if log_input else theta.log()
        params = [logits, log_theta, *others, log_sizes("mu", logits, library, target)]
    return nll(row, params, target, row.chosen(full, log_input or softmax), weight, reduction)


def asks_for_softmax(mean: str, library: Tensor | None) -> bool:
    """Whether the mean is a share of the library's size, of which there then is one."""
    if mean not in ("given", "softmax"):
        raise ValueError(f"mean: got {mean!r}, expected 'given' or 'softmax'")
    if (library is not None) != (mean == "softmax"):
        raise ValueError(
            "library: got " + ("None" if library is None else "one") + f" with mean={mean!r},"
            " expected one with mean='softmax' and no other"
        )
    return library is not None


def log_sizes(name: str, logits: Tensor, library: Tensor | None, target: Tensor) -> Tensor:
    """The logarithm of each sample's size, at least in float32, as a tensor that broadcasts."""
    checks.require_parameter(name, logits)
    checks.require_tensor("library", library)
    assert library is not None
    if not isinstance(target, Tensor) or target.dim() < 2:
        raise ValueError("mean: got 'softmax' with a target without event, expected [B, ...]")
    batch = target.shape[0]
    if library.shape not in ((batch,), (batch, 1)):
        raise ValueError(
            f"library: got shape {checks.shape_of(library)}, expected [{batch}] or [{batch}, 1]"
        )
    checks.require_same_device("library", library, name, logits)
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return library.to(dtype).log().reshape(batch, *(1,) * (target.dim() - 1))
