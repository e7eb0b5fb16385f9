"""Makes PyTorch's dispatcher call the Triton operators, for as long as they are the backend.

Triton and the kernels are imported by the first call, not before.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from . import tune

OLDEST = (3, 6)
_LOSS = ("elbo", "elbo_with_grad", "elbo_backward", "elbo_regrad")
_GENERAL = {f"general_{name}": f"likelihood.{name}" for name in _LOSS}
_OPERATORS = {name: f"likelihood.{name}" for name in _LOSS} | {
    "reparameterize_kl": "latent.reparameterize_kl",
    "reparameterize_kl_raw": "latent.reparameterize_kl",
    "reparameterize_kl_backward": "latent.reparameterize_kl_backward",
    "gaussian_kl": "latent.gaussian_kl",
    "gaussian_kl_raw": "latent.gaussian_kl",
    "gaussian_kl_backward": "latent.gaussian_kl_backward",
    "gumbel_softmax_kl": "categorical.gumbel_softmax_kl",
    "gumbel_softmax_kl_raw": "categorical.gumbel_softmax_kl",
    "gumbel_softmax_kl_backward": "categorical.gumbel_softmax_kl_backward",
}

_library: torch.library.Library | None = None
_served: tuple[tuple[str, ...], ...] = ((), ())


def version() -> str:
    """Triton's version, empty if it is not installed. Imports nothing."""
    if importlib.util.find_spec("triton") is None:
        return ""
    for name in ("triton", "pytorch-triton", "triton-windows"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return "unknown"


def interpreted() -> bool:
    """Whether Triton's interpreter is on, which runs kernels on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


def missing() -> str:
    """Why there are no Triton kernels here; empty if there are. Imports nothing."""
    found = version()
    if not found:
        return "Triton is not installed"
    numbers = found.split(".")[:2]
    if all(n.isdigit() for n in numbers) and tuple(map(int, numbers)) < OLDEST:
        return f"Triton {found} is older than {OLDEST[0]}.{OLDEST[1]}"
    if torch.version.cuda is None and not interpreted():
        return (
            "this PyTorch was built without CUDA, and Triton's interpreter is off"
            " (TRITON_INTERPRET=1)"
        )
    return ""


def devices() -> tuple[str, ...]:
    """Types of the devices whose tensors Triton kernels serve."""
    return ("cpu", "cuda") if interpreted() else ("cuda",)


def _operator(path: str) -> Callable[..., Any]:
    """An operator that is imported by its first call."""
    module, _, name = path.rpartition(".")
    found: Callable[..., Any] | None = None

    def call(*args: Any) -> Any:
        nonlocal found
        if found is None:
            found = getattr(importlib.import_module(f"{__package__}.{module}"), name)
            if tune.asked_to_measure():
                importlib.import_module(f"{__package__}.autotune").install()
        return found(*args)

    return call


def serve(chosen: Sequence[str], general: Sequence[str]) -> None:
    """Registers the operators for tensors on devices of these types, and for no others.

    Args:
        chosen: devices for which compiled kernels would be an alternative.
        general: of the operators that CUDA has no compiled kernels for.
    """
    global _library, _served
    if (tuple(chosen), tuple(general)) == _served:
        return
    if _library is not None:
        _library._destroy()
        _library = None
    _served = tuple(chosen), tuple(general)
    if not chosen and not general:
        return
    _library = torch.library.Library("vae_fast", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that compiled kernels are overridden, which is meant
        for operators, devices in ((_OPERATORS, chosen), (_GENERAL, general)):
            for name, path in operators.items():
                operator = _operator(path)
                for device in devices:
                    _library.impl(name, operator, device.upper(), allow_override=True)
