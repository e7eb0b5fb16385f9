"""The progress bar of one epoch."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from torch import Tensor

from vae_fast.training.optional import require

REFRESH = 0.5  # seconds


class EpochBar:
    """Rows done, rows/s, and the latest loss, reconstruction term and KL, in nats per row."""

    def __init__(self, total: int, unit: str, title: str, shown: bool) -> None:
        self._bar: Any = None
        self._read = 0.0
        if shown:
            tqdm = require("tqdm", "tqdm", "the progress bar (--no-progress does without)").tqdm
            # disable=None: no bar where standard error is not a terminal.
            self._bar = tqdm(total=total, desc=title, unit=f" {unit}s", leave=False, disable=None)

    def advance(self, rows: int, values: Tensor) -> None:
        """Count a batch. `values`: its loss, reconstruction term and KL, [3].

        They are read twice a second only: on a GPU, reading waits for all the work before it.
        """
        if self._bar is None or self._bar.disable:
            return
        self._bar.update(rows)
        now = time.perf_counter()
        if now - self._read >= REFRESH:
            self._read = now
            loss, recon, kl = values.tolist()
            self._bar.set_postfix_str(f"loss {loss:.2f} recon {recon:.2f} KL {kl:.2f}", False)

    def __enter__(self) -> EpochBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
