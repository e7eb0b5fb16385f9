"""Launching of kernels: the device, the counter of finished programs, and errors that help."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_counters: dict[tuple[int, int], Tensor] = {}


def counter(device: torch.device) -> Tensor:
    """An integer that is zero, and that kernels leave at zero: one for each stream.

    A CUDA graph gets one of its own, which it clears in every replay.
    """
    if device.type == "cuda":
        if torch.cuda.is_current_stream_capturing():
            return torch.zeros(1, dtype=torch.int32, device=device)
        index = torch.cuda.current_device() if device.index is None else device.index
        key = (index, torch.cuda.current_stream(index).cuda_stream)
    else:
        key = (-1, 0)
    found = _counters.get(key)
    if found is None:
        found = _counters[key] = torch.zeros(1, dtype=torch.int32, device=device)
    return found


def launch(
    kernel: Any, programs: int, device: torch.device, warps: int, *args: Any, **constants: Any
) -> None:
    """Runs a kernel on PyTorch's current stream of a device.

    Args:
        kernel: a Triton function.
        programs: of its grid.
        device: of its tensors.
        warps: of a program.
        args: what changes from call to call.
        constants: what it is compiled for.

    Raises:
        RuntimeError: it does not compile; the message names the kernel and the way out.
    """
    guard = torch.cuda.device(device) if device.type == "cuda" else None
    try:
        if guard is not None:
            guard.__enter__()
        kernel[(programs,)](*args, **constants, num_warps=warps, enable_fp_fusion=False)
    except Exception as error:
        name = kernel.fn.__name__
        raise RuntimeError(
            f"the Triton kernel {name} does not compile or launch: {error}. The environment"
            " variable VAE_FAST_BACKEND=reference (or vae_fast.set_backend) selects another backend"
        ) from error
    finally:
        if guard is not None:
            guard.__exit__(None, None, None)
