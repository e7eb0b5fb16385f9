"""The categorical latent: Gumbel-softmax samples and the KL of categorical distributions.

Conventions are those of `vae_fast.functional`; the last dimension holds the categories.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import checks
from .ops.categorical import gumbel_softmax_kl as _operator
from .reference.categorical import kl_variables
from .reference.reduce import reduce_elements
from .seeds import key_of_noise


def gumbel_softmax_kl(
    logits: Tensor,
    tau: float | Tensor = 1.0,
    *,
    hard: bool = False,
    seed: int | Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Samples relaxed categorical variables, with their KL to the uniform distribution, in one
    kernel, forward and backward (with Triton up to 8192 categories).

    .. math:: y = \text{softmax}((\text{logits} + g) / \tau),\quad g \sim \text{Gumbel}(0, 1),\quad
              kl = \sum_{\text{variables}} \sum_k q_k \log(q_k K),\quad
              q = \text{softmax}(\text{logits})

    The noise is never stored: the backward draws it again from the seed. It is a function of the
    seed and the element's number alone, the same for every dtype, thread count and machine.

    Args:
        logits: ``[B, ..., K]``, K categories; -inf makes a category impossible.
        tau: temperature, a positive number or a 0-dimensional tensor without a gradient. A tensor
            that is not positive gives NaN, and so does a number in a compiled function.
        hard: y is one-hot, an exact sample of q; its gradient is that of the soft y
            (straight-through).
        seed: key of the noise, an int or an int64 tensor with one element. By default it is drawn
            from ``generator``, so that `torch.manual_seed` works.
        generator: generator for the seed; PyTorch's default one if not given.

    Returns:
        ``(y, kl)``: y of the shape and dtype of ``logits``; kl of shape ``[B]`` in nats, float32
        (float64 for float64 logits).

    Raises:
        TypeError: an argument has a wrong type or an unsupported dtype.
        ValueError: fewer than two dimensions, no categories, a temperature that is not positive or
            wants a gradient, or both of ``seed`` and ``generator``.

    Source: Jang, Gu and Poole 2017, Categorical Reparameterization with Gumbel-Softmax; Maddison,
    Mnih and Teh 2017, The Concrete Distribution; `torch.nn.functional.gumbel_softmax`.
    """
    _require_logits("logits", logits)
    number, tau_tensor = checks.factor("tau", tau, "logits", logits)
    if tau_tensor is None:
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"tau: got {number}, expected a positive number")
    elif tau_tensor.requires_grad:
        raise ValueError("tau: got a tensor that requires a gradient, and it has none")
    else:  # whether it is positive, only the results can show
        tau_tensor = torch.where(tau_tensor > 0, tau_tensor, torch.nan)
    return _operator(logits, key_of_noise(logits, seed, generator), tau_tensor, number, hard)


def categorical_kl(
    logits: Tensor, prior_logits: Tensor | None = None, *, reduction: str = "batchmean"
) -> Tensor:
    r"""KL divergence of categorical distributions to the uniform one or to another, in nats.

    .. math:: \sum_k q_k \log(q_k / p_k),\quad q = \text{softmax}(\text{logits}),\quad
              p = \text{softmax}(\text{prior\_logits})

    evaluated without cancellation where q is close to p. Composed of PyTorch operators; the KL to
    the uniform distribution beside a sample is in `gumbel_softmax_kl`'s kernel.

    Args:
        logits: of q, ``[B, ..., K]``; -inf makes a category impossible.
        prior_logits: of p, finite, broadcastable to ``logits``; p is uniform by default. Has a
            gradient.
        reduction: as in `vae_fast.functional`; the elements are the variables, so "none" gives
            ``[B, ...]`` without the last dimension.

    Returns:
        KL(q || p), float32 (float64 for float64 inputs).

    Raises:
        TypeError: an argument is no tensor or not floating point.
        ValueError: fewer than two dimensions, no categories, shapes or devices that do not match,
            or an unknown reduction.

    Source: `torch.distributions.kl_divergence` of two OneHotCategoricals.
    """
    _require_logits("logits", logits)
    code = checks.reduction_code(reduction)
    if prior_logits is not None:
        checks.require_parameter("prior_logits", prior_logits)
        checks.require_same_device("prior_logits", prior_logits, "logits", logits)
        prior_logits = checks.expand("prior_logits", prior_logits, "logits", logits)
    return reduce_elements(kl_variables(logits, prior_logits), code)


def _require_logits(name: str, value: Tensor) -> None:
    checks.require_parameter(name, value)
    if value.dim() < 2 or value.shape[-1] == 0:
        raise ValueError(
            f"{name}: got shape {checks.shape_of(value)}, expected [B, ..., K] with at least one"
            " category"
        )
