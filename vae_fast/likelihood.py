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
from .sparse import beside_the_compiler, split
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


def nll(
    row: Likelihood,
    params: list[Tensor],
    target: Tensor,
    constants: tuple[float, ...],
    weight: Tensor | None,
    reduction: str,
) -> Tensor:
    """The negative log-likelihood of a row of the registry, its arguments checked."""
    call = beside_the_compiler(_nll, target)
    return call(row, params, target, constants, weight, reduction)


def _nll(
    row: Likelihood,
    params: list[Tensor],
    target: Tensor,
    constants: tuple[float, ...],
    weight: Tensor | None,
    reduction: str,
) -> Tensor:
    names = (*row.names, "library")
    code = checks.reduction_code(reduction)
    target = checked_target(row, params[0], names[0], target)
    params = checked_params(params, names, target)
    weight = checked_weight(weight, target)
    if code == DRAW and params[0].dim() == target.dim():
        code = SAMPLE
    masked_mean = code == MEAN and weight is not None and weight.dtype == torch.bool
    result = _elbo_operator(
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
        result = result / weight.sum()
    return result


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
    return nll(row, [logits], target, row.full_constants, weight, reduction)


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
    return nll(row, params, target, row.chosen(full), weight, reduction)


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
    return nll(row, params, target, row.chosen(full), weight, reduction)
