"""Where a test runs: the device of its tensors and the backend that serves them.

Every test of the operators runs on the CPU and, marked `gpu`, on CUDA tensors with each backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

import vae_fast as vf


@dataclass(frozen=True)
class Place:
    """A device and a backend.

    Attributes:
        device: "cpu" or "cuda".
        backend: as for `vf.set_backend`.
    """

    device: str
    backend: str

    @property
    def name(self) -> str:
        """For the test's id: cpu, reference, cuda, cuda-triton, cuda-reference ..."""
        if self.device == "cpu" or self.backend == "cuda":
            return "cpu" if self.backend == "auto" else self.backend
        return f"{self.device}-{self.backend}"

    @property
    def kernels(self) -> str:
        """The name of a backend with kernels."""
        return self.device if self.backend in ("auto", "reference") else self.backend


@cache
def missing(place: Place) -> str:
    """Why tests cannot run there; empty if they can."""
    if place.device == "cuda" and not torch.cuda.is_available():
        return "needs a GPU"
    try:
        with vf.backend(place.backend):
            return ""
    except RuntimeError as error:
        return str(error)


CPU = Place("cpu", "auto")
GPU = Place("cuda", "auto")
# For a test that asks for no backend, and for one that runs with each of them.
ON_CPU = {False: [CPU], True: [Place("cpu", name) for name in ("cpu", "reference")]}
ON_GPU = {
    False: [Place("cuda", name) for name in ("cuda", "triton")],
    True: [Place("cuda", name) for name in ("cuda", "triton", "reference")],
}
