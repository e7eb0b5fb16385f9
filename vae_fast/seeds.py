"""The key of a call's noise: given, or drawn from PyTorch's generator."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor

from . import checks
from .ops.routing import exports_to_onnx


def key_of_noise(
    like: Tensor, seed: int | Tensor | None, generator: torch.Generator | None
) -> Tensor:
    """An int64 tensor of one element on the device of `like`.

    An int from 2^63 on, as half of those of `torch.initial_seed` are, stands for the signed number
    with the same 64 bits.

    Raises:
        TypeError: the seed is neither an int nor a tensor.
        ValueError: it does not fit, lies on another device, or came with a generator.
        NotImplementedError: during an export to ONNX.
    """
    if exports_to_onnx():
        raise NotImplementedError(
            "seed: ONNX has no operators for this noise: give it as eps=, for example"
            " torch.randn_like(mu), where the function takes it"
        )
    if seed is None:
        return torch.randint(2**63 - 1, (1,), device=like.device, generator=generator)
    if generator is not None:
        raise ValueError("eps, seed and generator: got more than one, expected at most one")
    if isinstance(seed, Tensor):
        checks.require_tensor("seed", seed)
        if seed.dtype != torch.int64 or seed.numel() != 1:
            raise ValueError(
                f"seed: got a tensor of {seed.dtype} and shape {checks.shape_of(seed)},"
                " expected one int64 element"
            )
        checks.require_same_device("seed", seed, "the parameters", like)
        return seed
    if isinstance(seed, bool) or not isinstance(seed, (Integral, torch.SymInt)):
        raise TypeError(f"seed: expected an int or an int64 tensor, got {type(seed).__name__}")
    if not isinstance(seed, torch.SymInt):
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"seed: got {seed}, expected a 64-bit integer")
        if seed >= 2**63:
            seed -= 2**64
    # Filled on the device: a copy would make the host wait, and cannot be captured in a graph.
    return torch.full((1,), seed, dtype=torch.int64, device=like.device)
