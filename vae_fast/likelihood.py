"""Public functions of the likelihoods. Conventions: `vae_fast.functional`; rows: `likelihoods`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import checks, likelihoods
from .likelihoods import Likelihood
from .ops.likelihood import elbo as _elbo_operator
from .ops.sharing import is_expanded, unexpanded
from .reference.reduce import DRAW, MEAN, SAMPLE, SUM
from .sparse import split
from .warning import warn


def checked_target(row: Likelihood, params: Tensor, name: str, target: Tensor) -> Tensor:
    """Checks the first parameter, and the target against it: [B, ...] or [L, B, ...]."""
    checks.require_parameter(name, params)
    checks.require_target(row.target, row.sparse, target)
    if target.dtype == torch.uint8 and row.bytes_to_unit:
        _look_at_bytes(target)
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


_looked_at_bytes = False


def _look_at_bytes(target: Tensor) -> None:
    """Warns if the first bytes that come look like bits."""
    global _looked_at_bytes
    if _looked_at_bytes or not target.is_cpu or torch.compiler.is_compiling():
        return
    _looked_at_bytes = True
    if (
        type(target) is Tensor
        and target.layout is torch.strided
        and target.numel()
        and int(target.max()) <= 1
    ):
        warn(
            "vae_fast: uint8 targets are read as t / 255, and these are all 0 or 1; convert bits to"
            " bool"
        )


def checked_params(params: list[Tensor], names: Sequence[str], target: Tensor) -> list[Tensor]:
    """The parameters behind the first one as views that the operators know how to share."""
    if len(params) == 1:
        return params
    first, *others = params
    bound = [first]
    for name, t in zip(names[1 : len(params)], others, strict=True):
        checks.require_tensor(name, t)
        if t.dtype not in checks.PARAMETER_DTYPES:
            raise TypeError(f"{name}: got dtype {t.dtype}, expected a floating-point dtype")
        if t.device != first.device:
            checks.require_same_device(name, t, names[0], first)
        whole = t.shape == first.shape and not is_expanded(t, len(t.shape) - target.dim() + 1)
        bound.append(t if whole else _shared(name, t, names[0], first, target))
    return bound


def _shared(name: str, t: Tensor, first_name: str, first: Tensor, target: Tensor) -> Tensor:
    """A view of the smallest shape that the operators share: (), the event's, or [B, 1, ...].

    Other shapes are expanded to the next larger one, and autograd sums their gradient.
    """
    whole = checks.expand(name, t, first_name, first)
    if t.shape == first.shape:
        t = unexpanded(t, t.dim() - target.dim() + 1)
    if t.numel() == 1:
        return t.reshape(())
    event = target.shape[1:]
    while t.dim() > len(event) and t.shape[0] == 1:
        t = t.squeeze(0)
    if t.dim() <= len(event):
        return t.expand(event)
    if t.dim() == target.dim() and all(size == 1 for size in t.shape[1:]):
        return t
    return whole


def checked_weight(weight: Tensor | None, target: Tensor) -> Tensor | None:
    """A view of the target's shape."""
    if weight is None:
        return None
    checks.require_tensor("weight", weight)
    if weight.dtype != torch.bool and weight.dtype not in checks.PARAMETER_DTYPES:
        raise TypeError(
            f"weight: got dtype {weight.dtype}, expected bool or a floating-point dtype"
        )
    checks.require_same_device("weight", weight, "target", target)
    return checks.expand("weight", weight, "target", target)


def _nll(
    row: Likelihood,
    params: list[Tensor],
    target: Tensor,
    constants: tuple[float, ...],
    weight: Tensor | None,
    reduction: str,
) -> Tensor:
    names = row.names
    code = checks.reduction_code(reduction)
    target = checked_target(row, params[0], names[0], target)
    params = checked_params(params, names, target)
    weight = checked_weight(weight, target)
    if code == DRAW and params[0].dim() == target.dim():
        code = SAMPLE
    masked_mean = code == MEAN and weight is not None and weight.dtype == torch.bool
    nll = _elbo_operator(
        params,
        *split(target),
        weight,
        None,
        None,
        None,
        None,
        0.0,
        row.code,
        constants,
        SUM if masked_mean else code,
    )[0]
    if masked_mean:
        assert weight is not None
        nll = nll / weight.sum()
    return nll


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
        target: t, ``[B, ...]``, in [0, 1]: floating point, bool, or uint8 (read as t / 255, so that
            0 and 1 are 0 and 0.0039: convert 0/1 images to bool), or a `torch.sparse_csr` matrix.
            Values outside [0, 1] are computed as the formula says.
        weight: broadcastable to ``target``: a factor of each element, or, of dtype bool, a mask:
            masked elements are exactly 0 and so is their gradient, whatever stands in parameters
            and target; "mean" divides by the number of elements that are kept.
        reduction: see the module.

    Returns:
        float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not match, or an unknown reduction.

    Source: `torch.nn.functional.binary_cross_entropy_with_logits`.
    """
    row = likelihoods.BERNOULLI
    return _nll(row, [logits], target, row.full_constants, weight, reduction)


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
        logvar: log-variance: None for 0 (half the squared error and a constant), or broadcastable
            to ``mean``: one for all, per column (the event's shape), per sample (``[B, 1, ...]``)
            or per element. Has a gradient of its own shape, summed in the kernel.
        full: whether the constant ½ log 2π per element is included.
        weight: see `bernoulli_nll`.
        reduction: see the module.

    Returns:
        float32, or float64 for a float64 mean.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not match, or an unknown reduction.

    Source: Kingma and Welling 2013, appendix C.2; Rybkin et al. 2021 (sigma-VAE) for the shared
    one.
    """
    params = [mean] if logvar is None else [mean, logvar]
    row = likelihoods.GAUSSIAN
    return _nll(row, params, target, row.chosen(full), weight, reduction)


def laplace_nll(
    loc: Tensor,
    target: Tensor,
    logscale: Tensor | None = None,
    *,
    full: bool = True,
    weight: Tensor | None = None,
    reduction: str = "batchmean",
) -> Tensor:
    r"""Negative log-likelihood of a Laplace distribution, in nats: a scaled absolute error.

    .. math:: |t - \text{loc}|\, e^{-\text{logscale}} + \text{logscale} + \log 2

    Args:
        loc: ``[B, ...]``, or ``[L, B, ...]`` with L Monte Carlo samples, over which "sample",
            "batchmean" and "sum" average.
        target: t, ``[B, ...]``: floating point, bool, or uint8 (read as t / 255).
        logscale: log of the scale: None for 0, or broadcastable to ``loc`` as the log-variance of
            `gaussian_nll`. Has a gradient.
        full: whether the constant log 2 per element is included.
        weight: see `bernoulli_nll`.
        reduction: see the module.

    Returns:
        float32, or float64 for a float64 loc. The gradient at t = loc is 0.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not match, or an unknown reduction.

    Source: `torch.distributions.Laplace`.
    """
    params = [loc] if logscale is None else [loc, logscale]
    row = likelihoods.LAPLACE
    return _nll(row, params, target, row.chosen(full), weight, reduction)


def poisson_nll(
    log_rate: Tensor,
    target: Tensor,
    *,
    full: bool = True,
    weight: Tensor | None = None,
    reduction: str = "batchmean",
) -> Tensor:
    r"""Negative log-likelihood of a Poisson distribution of counts, in nats.

    .. math:: e^r - t\, r + \log \Gamma(t + 1)

    evaluated without cancellation, however large the counts are.

    Args:
        log_rate: r, ``[B, ...]``, or ``[L, B, ...]`` with L Monte Carlo samples, over which
            "sample", "batchmean" and "sum" average.
        target: t, ``[B, ...]``: counts of any integer dtype (uint8 is the number itself), bool or
            floating point, or a `torch.sparse_csr` matrix. Fractions are computed as the formula
            says; with ``full`` a target of -1 or less gives NaN.
        full: whether log Γ(t + 1), which does not depend on the rate, is included.
        weight: see `bernoulli_nll`.
        reduction: see the module.

    Returns:
        float32, or float64 for a float64 log-rate.

    Raises:
        TypeError: an argument is no tensor or has an unsupported dtype.
        ValueError: shapes or devices do not match, or an unknown reduction.

    Source: `torch.distributions.Poisson`; `torch.nn.functional.poisson_nll_loss`, whose
    ``full=True`` is Stirling's approximation.
    """
    row = likelihoods.POISSON
    return _nll(row, [log_rate], target, row.chosen(full), weight, reduction)


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
        library: size of each sample, ``[B]`` or ``[B, 1]``, positive, with ``mean="softmax"``. Has
            a gradient.
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
    return _nll(row, params, target, row.chosen(full, log_input), weight, reduction)


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
    if mean not in ("given", "softmax"):
        raise ValueError(f"mean: got {mean!r}, expected 'given' or 'softmax'")
    if (library is not None) != (mean == "softmax"):
        raise ValueError(
            "library: got " + ("None" if library is None else "one") + f" with mean={mean!r},"
            " expected one with mean='softmax' and no other"
        )
    if library is not None:
        logits, theta, *others = params
        checks.require_parameter("mu", logits)
        checks.require_parameter("library", library)
        log_mu = log_softmax_mean(logits, checked_library(library, logits, target))
        params = [log_mu, theta if log_input else theta.log(), *others]
    constants = row.chosen(full, log_input or library is not None)
    return _nll(row, params, target, constants, weight, reduction)


def checked_library(library: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """One size for each sample, as a tensor that broadcasts to the logits."""
    if target.dim() < 2:
        raise ValueError("mean: got 'softmax' with a target without event, expected [B, ...]")
    batch = target.shape[0]
    if library.shape not in ((batch,), (batch, 1)):
        raise ValueError(
            f"library: got shape {checks.shape_of(library)}, expected [{batch}] or [{batch}, 1]"
        )
    checks.require_same_device("library", library, "mu", logits)
    return library.reshape(batch, *(1,) * (target.dim() - 1))


def log_softmax_mean(logits: Tensor, library: Tensor) -> Tensor:
    """log(library · softmax(logits)) over the event, at least in float32."""
    event = library.dim() - 1
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    rows = logits.flatten(-event) if event > 1 else logits
    shares = torch.log_softmax(rows, -1, dtype=dtype).view(logits.shape)
    return shares + library.to(dtype).log()
