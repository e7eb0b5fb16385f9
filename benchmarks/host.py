"""What a call of the Triton operators costs on the host, measured without a GPU.

`python -m benchmarks.host` prints the time of each part of a call. Everything runs for real, up to
and including Triton's Python around a launch, but for the driver: a stand-in, which compiles for a
GPU that is not there and launches nothing. What CUDA's own launch costs is not in these numbers.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget

import vae_fast as vf
from vae_fast.triton import launch, registration

from .timing import interleaved, quartiles

OPS = torch.ops.vae_fast
Call = Callable[[], Any]
LOOK = "look at the gradient"
KL, MU, LOGVAR = (1 << bit for bit in (8, 9, 10))  # bits of `wants`


class Driver:
    """Stands in for Triton's: one GPU of an architecture that loads any binary and runs nothing.

    Attributes:
        launched: is called with what a launcher gets: grid, stream, function, metadata, hooks, and
            the kernel's arguments.
    """

    def __init__(self, launched: Callable[..., None], architecture: int = 90) -> None:
        self.launched = launched
        self.target = GPUTarget("cuda", architecture, 32)
        self.utils = SimpleNamespace(
            get_device_properties=lambda device: {"max_shared_mem": 1 << 18},
            load_binary=lambda name, binary, *_: (name, hash(binary), 32, 0, 1024),
            unload_module=lambda module: None,
        )

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def launcher_cls(self, source: Any, metadata: Any) -> Callable[..., None]:
        return self.launched


@contextmanager
def no_gpu(launched: Callable[..., None] = lambda *_: None) -> Iterator[None]:
    """The Triton operators serve CPU tensors and launch on the stand-in."""
    config = triton.runtime.driver
    before = config._active
    config.set_active(Driver(launched))
    # The interpreter is the case in which they serve CPU tensors; kernels imported before are not
    # interpreted for that.
    registration.serve(["cpu"], [])
    try:
        yield
    finally:
        registration.serve([], [])
        config._active = before


def calls(rows: int = 128) -> dict[str, Call]:
    """The operators of a training step of 128 MNIST images, as autograd calls them."""
    x, target = torch.randn(rows, 784), torch.rand(rows, 784)
    mu, kl = torch.randn(rows, 20), torch.rand(rows)
    seed, one, gradients = torch.ones(1, dtype=torch.int64), torch.ones(()), [torch.empty_like(x)]
    loss = ([x], target, None, None, None)
    options = (None, 0.5, 0, [0.0], 2)
    return {
        "loss": lambda: OPS.elbo_with_grad.default(*loss, None, None, None, *options, 1),
        "ELBO": lambda: OPS.elbo_with_grad.default(*loss, kl, None, None, *options, 1 | KL),
        "ELBO of mu, logvar": lambda: OPS.elbo_with_grad.default(
            *loss, None, mu, mu, *options, 1 | MU | LOGVAR
        ),
        LOOK: lambda: OPS.elbo_regrad.default(one, gradients, *loss, None, None, None, *options, 1),
        "sample + KL": lambda: OPS.reparameterize_kl_raw.default(mu, mu, seed, None, None, True),
        "its backward": lambda: OPS.reparameterize_kl_backward.default(mu, kl, mu, mu, seed, None),
        "KL": lambda: OPS.gaussian_kl_raw.default(mu, mu, None, None, 2),
    }


def median(variants: dict[str, Call], seconds: float) -> dict[str, float]:
    """Microseconds of one call of each."""
    samples = interleaved(variants, seconds)
    return {name: quartiles(samples[name])[1] * 1e6 for name in variants}


def measure(seconds: float) -> dict[str, dict[str, float]]:
    """Microseconds of the parts of each call.

    Only one set of kernels is registered at a time, so that the parts cannot take turns: on a busy
    machine compare ratios within a row, and rows of several runs.
    """
    result = {}
    with vf.backend("cpu"):
        # One row instead of a batch: dispatch, allocations, next to no arithmetic.
        # On the CPU nobody needs a kernel that looks at the gradient.
        there = {name: call for name, call in calls(1).items() if name != LOOK}
        compiled = median(there, seconds)
    with no_gpu():
        whole = median(calls(), seconds)
        with mock.patch.object(launch.Launch, "__call__", lambda *args: None):
            ours = median(calls(), seconds)
    for name in whole:
        result[name] = {
            "operator": whole[name],
            "without Triton's launch": ours[name],
            "compiled for the CPU": compiled.get(name, math.nan),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of every column")
    result = measure(parser.parse_args().seconds)
    columns = list(next(iter(result.values())))
    print("| µs a call | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name, row in result.items():
        cells = ("" if math.isnan(value) else f"{value:.1f}" for value in row.values())
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    with torch.no_grad():
        main()
