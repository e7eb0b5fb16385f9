"""VAE_FAST_AUTOTUNE=1: measures how to cut the work on this GPU, once, and keeps it in a file.

The cut decides the order of sums, so results may then differ in the last bits between machines;
never between runs on one.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..version import __version__
from . import latent, likelihood, registration, tune
from .tune import Config, Key, forced

CANDIDATES = [Config(elements, warps) for elements in (512, 1024, 2048) for warps in (2, 4, 8)]
_DTYPES = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}

Measure = Callable[[Key, Config, torch.device], float]
_known: dict[tuple[str, Key], Config] = {}


def install() -> None:
    """Makes every later call on a GPU use what is fastest there."""
    tune.measure_by(best)


def cache_file() -> Path:
    """Where the measured choices are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "vae_fast" / "triton.json"


def machine(device: torch.device) -> str:
    """What a measurement is valid for."""
    name = torch.cuda.get_device_name(device)
    return f"{name}, triton {registration.version()}, vae_fast {__version__}"


def best(key: Key, device: torch.device, measure: Measure | None = None) -> Config:
    """The fastest candidate: known, from the file, or measured now and written there."""
    where = machine(device)
    found = _known.get((where, key))
    if found is None:
        name = " ".join(map(str, key))
        stored = _read()
        if name in stored.get(where, {}):
            found = Config(*stored[where][name])
        else:
            seconds = {c: (measure or seconds_of)(key, c, device) for c in CANDIDATES}
            found = min(seconds, key=lambda c: seconds[c])
            stored.setdefault(where, {})[name] = list(found)
            _write(stored)
        _known[where, key] = found
    return found


def _read() -> dict[str, dict[str, list[int]]]:
    try:
        content: dict[str, dict[str, list[int]]] = json.loads(cache_file().read_text())
    except (OSError, ValueError):
        return {}
    return content


def _write(content: dict[str, Any]) -> None:
    file = cache_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(file)  # at once, for other processes


def seconds_of(key: Key, config: Config, device: torch.device) -> float:
    """Median time of one operator with a cut."""
    kernel, large, size = key
    count = 1 << (24 if large else 17)
    cols = 1024 if kernel == "likelihood" else 32
    shape, dtype = (count // cols, cols), _DTYPES[size]
    x = torch.zeros(shape, dtype=dtype, device=device)
    seed = torch.zeros(1, dtype=torch.int64, device=device)

    def run() -> None:
        if kernel == "likelihood":
            likelihood.elbo_with_grad([x], x, *(None,) * 5, 0.0, 0, [0.0], 2, 1)
        else:
            latent.reparameterize_kl(x, x, seed, None, None, True)

    times = []
    with forced(config):
        for number in range(23):
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            stop.record()
            stop.synchronize()
            if number >= 3:
                times.append(start.elapsed_time(stop))
    return float(statistics.median(times)) / 1000
