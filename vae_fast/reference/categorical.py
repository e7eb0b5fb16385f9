"""Gumbel-softmax samples and categorical KL in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from .dtypes import accumulate_dtype
from .noise import gumbel
from .reduce import SAMPLE, reduce_elements

# Where no d is larger; there exp(d) is not either, and beyond it nothing cancels.
NEAR = 4.0


def kl_variables(logits: Tensor, prior_logits: Tensor | None = None) -> Tensor:
    """KL(q || p) of each variable, [...], from logits [..., K]; p is uniform without prior logits.

    Let d be log(q / p) plus the constant that gives it mean 0 under p, and a = E_p[e^d - 1 - d].
    The KL is E_p[d (e^d - 1)] / (1 + a) - log(1 + a), in which nothing cancels near q = p.
    """
    dtype = accumulate_dtype(logits, prior_logits)
    logits = logits.to(dtype)
    if prior_logits is None:
        p = torch.full_like(logits, 1 / logits.shape[-1])
        log_p = p.log()
        ratio = logits
    else:
        prior_logits = prior_logits.to(dtype)
        p, log_p = prior_logits.softmax(-1), prior_logits.log_softmax(-1)
        ratio = logits - prior_logits
    # Only the value: the textbook's cancels near q = p, its gradient does not. In double, in which
    # the differences keep enough digits.
    weight, d = p.detach().double(), ratio.detach().double()
    mean = (weight * d).sum(-1, keepdim=True)
    near = d.amax(-1, keepdim=True) - mean <= NEAR
    d = torch.where(near, d - mean, 0.0)
    slope = torch.expm1(d)
    excess = (weight * (slope - d)).sum(-1)
    close = (weight * d * slope).sum(-1) / (1 + excess) - torch.log1p(excess)
    q, log_q = logits.softmax(-1), logits.log_softmax(-1)
    # An impossible category (q = 0) adds nothing.
    far = (q * torch.where(q == 0, 0.0, log_q - log_p)).sum(-1)
    return torch.where(near.squeeze(-1), close.to(dtype) + (far - far.detach()), far)


def gumbel_softmax_kl(
    logits: Tensor, seed: Tensor, tau_tensor: Tensor | None, tau: float, hard: bool
) -> tuple[Tensor, Tensor]:
    """softmax((logits + g) / tau), or its largest as a one-hot, and KL(q || uniform) per sample."""
    out_dtype, dtype = logits.dtype, accumulate_dtype(logits)
    logits = logits.to(dtype)
    noise = gumbel(seed, logits.shape).to(dtype)
    y = ((logits + noise) / (tau if tau_tensor is None else tau_tensor.to(dtype))).softmax(-1)
    if hard:
        chosen = torch.zeros_like(y).scatter(-1, y.detach().argmax(-1, keepdim=True), 1.0)
        y = chosen + (y - y.detach())
    return y.to(out_dtype), reduce_elements(kl_variables(logits), SAMPLE)
