"""Launching of kernels: the device, the counter of finished programs, and errors that help."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

_counters: dict[tuple[int, int], Tensor] = {}


def counter(device: torch.device) -> Tensor:
    """An integer that is zero, and that kernels leave at zero: one for each stream.

    A CUDA graph gets one of its own, which it clears in every replay.
    """
    if device.type != "cuda":
        key = (-1, 0)
    elif torch.cuda.is_current_stream_capturing():
        return _zero(device)
    else:
        key = (device.index, torch.cuda.current_stream(device).cuda_stream)
    found = _counters.get(key)
    if found is None:
        # By another thread: a warm-up for CUDA graphs may have sent this one's allocations to a
        # pool that must not outlive the graph. The wait is once for each stream.
        with ThreadPoolExecutor(1) as thread:
            found = _counters[key] = thread.submit(_zero, device, wait=True).result()
    return found


def _zero(device: torch.device, wait: bool = False) -> Tensor:
    zero = torch.zeros(1, dtype=torch.int32, device=device)
    if wait and device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return zero


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
    elsewhere = device.type == "cuda" and device.index != torch.cuda.current_device()
    try:
        with torch.cuda.device(device) if elsewhere else nullcontext():
            kernel[(programs,)](*args, **constants, num_warps=warps, enable_fp_fusion=False)
    except Exception as error:
        name = kernel.fn.__name__
        raise RuntimeError(
            f"the Triton kernel {name} does not compile or launch: {error}. The environment"
            " variable VAE_FAST_BACKEND=reference (or vae_fast.set_backend) selects another backend"
        ) from error
