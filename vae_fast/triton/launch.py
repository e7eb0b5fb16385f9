"""Launching of kernels: the device, workspace, what Triton compiled, and errors that help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

_counters: dict[tuple[torch.device, int], Tensor] = {}


def counter(device: torch.device) -> Tensor:
    """An integer that is zero, and that kernels leave at zero: one for each stream.

    A CUDA graph gets one of its own, which it clears in every replay.
    """
    stream = 0
    if device.type == "cuda":
        if torch.cuda.is_current_stream_capturing():
            return _zero(device)
        stream = torch._C._cuda_getCurrentRawStream(device.index)
    found = _counters.get((device, stream))
    if found is None:
        # By another thread: a warm-up for CUDA graphs may have sent this one's allocations to a
        # pool that must not outlive the graph.
        with ThreadPoolExecutor(1) as thread:
            found, cleared = thread.submit(_zero_and_event, device).result()
        if cleared is not None:  # this stream waits for it, the host does not
            cleared.wait(torch.cuda.current_stream(device))
        _counters[device, stream] = found
    return found


def _zero(device: torch.device) -> Tensor:
    return torch.zeros(1, dtype=torch.int32, device=device)


def _zero_and_event(device: torch.device) -> tuple[Tensor, torch.cuda.Event | None]:
    """The zero, and when this thread's stream has cleared it."""
    zero = _zero(device)
    if device.type != "cuda":
        return zero, None
    return zero, torch.cuda.current_stream(device).record_event()


class Launch:
    """A kernel with all the arguments that its calls have in common.

    A kernel takes tensors, then the workspace, then what else changes from call to call, then
    numbers and constants. Triton finds out at every launch which of its compilations serves the
    arguments, which takes longer than all else on the host. Here it may differ in one thing only,
    whether all addresses are multiples of 16: where they are, calls after the first go straight to
    what that one was served with.
    """

    def __init__(
        self,
        kernel: Any,
        programs: int,
        device: torch.device,
        warps: int,
        *numbers: int,
        sums: int | None = None,
        **constants: Any,
    ) -> None:
        """
        Args:
            kernel: a Triton function; its integers are not specialised.
            programs: of its grid.
            device: of its tensors.
            warps: of a program.
            numbers: integers of the kernel.
            sums: partial sums in the workspace, none if 0; None for a kernel without workspace.
            constants: what the kernel is compiled for.
        """
        self.kernel, self.programs, self.warps = kernel, programs, warps
        self.device, self.on_gpu = device, device.type == "cuda"
        self.sums, self.numbers, self.constants = sums, numbers, constants
        self._compiled: Callable[..., None] | None = None
        self._launched = False
        ordered = [constants[name] for name in kernel.arg_names if name in constants]
        self._rest = (*numbers, *ordered)

    def workspace(self) -> tuple[Tensor | None, ...]:
        """Room for partial sums, and how many programs have stored theirs."""
        if self.sums is None:
            return ()
        if self.sums == 0:
            return None, None
        sums = torch.empty_strided((self.sums,), (1,), dtype=torch.float64, device=self.device)
        return sums, counter(self.device)

    def __call__(self, tensors: Sequence[Tensor | None], *scalars: float) -> None:
        """Runs the kernel on PyTorch's current stream of the device.

        Raises:
            RuntimeError: it does not compile; the message names the kernel and the way out.
        """
        if self.on_gpu and self.device.index != torch.cuda.current_device():
            with torch.cuda.device(self.device):
                return self(tensors, *scalars)
        tensors = (*tensors, *self.workspace())
        addresses = 0
        for t in tensors:
            if t is not None:
                addresses |= t.data_ptr()
        aligned = addresses % 16 == 0
        try:
            if aligned and self._compiled is not None:
                self._compiled(*tensors, *scalars, *self._rest)
                return
            if self.on_gpu and not self._launched and torch.cuda.is_current_stream_capturing():
                raise RuntimeError(
                    "its first launch loads a module, which would end the CUDA graph that is being"
                    " captured; call the function once before capturing"
                )
            compiled = self.kernel[(self.programs,)](
                *tensors, *scalars, *self._rest, num_warps=self.warps, enable_fp_fusion=False
            )
            self._launched = True
            if aligned and compiled is not None:  # the interpreter compiles nothing
                self._compiled = compiled[(self.programs, 1, 1)]
        except Exception as error:
            name = self.kernel.fn.__name__
            raise RuntimeError(
                f"the Triton kernel {name} does not compile or launch: {error}. The environment"
                " variable VAE_FAST_BACKEND=reference (or vae_fast.set_backend) selects another"
                " backend"
            ) from error
