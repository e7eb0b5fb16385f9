"""Operators of the categorical latent: Gumbel-softmax samples with their KL, and their gradient."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..reference.dtypes import accumulate_dtype
from .categorical_kernel import backward_kernel, sample_kernel
from .launch import Launch
from .layout import Form, dense
from .plan import Plan, blank, forms, planned
from .tune import Config, alignment, config, power_of_two, sum_shape


class _Cut(NamedTuple):
    """[batch, variables, categories] in tiles."""

    samples: int
    variables: int
    categories: int
    chunks: int
    programs: int
    warps: int


def _cut(batch: int, variables: int, categories: int, tile: Config) -> _Cut:
    wide = power_of_two(categories)
    across = min(power_of_two(variables), max(tile.elements // wide, 1))
    deep = min(power_of_two(batch), max(tile.elements // (wide * across), 1))
    chunks = -(-variables // across)
    warps = max(tile.warps, wide // 256)  # 8 categories to a thread
    return _Cut(deep, across, wide, chunks, -(-batch // deep) * chunks, warps)


def _not_dense(tensors: tuple[Any, ...]) -> dict[int, Form | None]:
    """Places of tensors that the kernel gets as dense copies."""
    return {
        place: dense(t.shape, t.dtype)
        for place, t in enumerate(tensors)
        if t is not None and not t.is_contiguous()
    }


@planned
def _sample_plan(device: torch.device, tile: Config, hard: bool, *tensors: Form | None) -> Plan:
    """For logits, seed and tau_tensor."""
    logits, seed, tau = (blank(form) for form in tensors)
    batch, categories = logits.shape[0], logits.shape[-1]
    variables = math.prod(logits.shape[1:-1])
    results = (dense(logits.shape, logits.dtype), dense((batch,), accumulate_dtype(logits)))
    if batch == 0:
        return Plan(device, results, None, {})
    cut = _cut(batch, variables, categories, tile)
    split = cut.chunks > 1
    sum_rows, sum_cols = sum_shape(cut.chunks)
    launch = Launch(
        sample_kernel,
        max(cut.programs, -(-batch // cut.samples)),  # a KL of 0 is written, too
        device,
        cut.warps,
        batch,
        variables,
        categories,
        max(cut.chunks, 1),
        sums=batch * cut.chunks if split else 0,
        HARD=hard,
        ALIGNED=alignment(categories),
        GROUPED=categories % 4 == 0,
        SPLIT=split,
        S=cut.samples,
        V=cut.variables,
        K=cut.categories,
        SUM_ROWS=sum_rows,
        SUM_COLS=sum_cols,
    )
    return Plan(device, results, launch, _not_dense((logits, seed, tau)))


def gumbel_softmax_kl(
    logits: Tensor, seed: Tensor, tau_tensor: Tensor | None, tau: float, hard: bool
) -> tuple[Tensor, Tensor]:
    """vae_fast::gumbel_softmax_kl."""
    tile = config("latent", logits.numel(), logits.dtype, logits.device)
    operands = [logits, seed, tau_tensor]
    y, kl = _sample_plan(logits.device, tile, hard, *forms(operands))(operands, tau)
    return y, kl


@planned
def _backward_plan(device: torch.device, tile: Config, *tensors: Form | None) -> Plan:
    """For grad_y, grad_kl, logits, seed and tau_tensor."""
    grad_y, grad_kl, logits, _seed, _tau = (blank(form) for form in tensors)
    results = (dense(logits.shape, logits.dtype),)
    if logits.numel() == 0:
        return Plan(device, results, None, {})
    batch, categories = logits.shape[0], logits.shape[-1]
    variables = math.prod(logits.shape[1:-1])
    cut = _cut(batch, variables, categories, tile)
    launch = Launch(
        backward_kernel,
        cut.programs,
        device,
        cut.warps,
        batch,
        variables,
        categories,
        cut.chunks,
        0 if grad_kl is None else grad_kl.stride(0),
        ALIGNED=alignment(categories),
        GROUPED=categories % 4 == 0,
        S=cut.samples,
        V=cut.variables,
        K=cut.categories,
    )
    return Plan(device, results, launch, _not_dense((grad_y, None, logits)))


def gumbel_softmax_kl_backward(
    grad_y: Tensor | None,
    grad_kl: Tensor | None,
    logits: Tensor,
    seed: Tensor,
    tau_tensor: Tensor | None,
    tau: float,
) -> Tensor:
    """vae_fast::gumbel_softmax_kl_backward."""
    tile = config("latent", logits.numel(), logits.dtype, logits.device)
    operands = [grad_y, grad_kl, logits, seed, tau_tensor]
    grad: Tensor = _backward_plan(logits.device, tile, *forms(operands))(operands, tau)[0]
    return grad
