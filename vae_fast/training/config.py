"""What defines a training run. Free of torch, so that the command line can read the defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass

LOSSES = ("fused", "reference", "both")


@dataclass(frozen=True)
class TrainConfig:
    """The settings that decide the result of a run; the defaults are those of pytorch/examples."""

    dataset: str = "digits"
    latent: int = 20
    hidden: int = 400
    epochs: int = 10
    batch_size: int = 128
    beta: float = 1.0
    lr: float = 1e-3
    seed: int = 0
    likelihood: str = "bernoulli"
    binarize: bool = False
    amp: bool = False
    loss: str = "fused"

    def __post_init__(self) -> None:
        for name in ("latent", "hidden", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise ValueError(f"beta must be a finite number >= 0, got {self.beta}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be a finite number > 0, got {self.lr}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be at least 0 and below 2**63, got {self.seed}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {LOSSES}, got {self.loss!r}")
        if self.binarize and self.likelihood != "bernoulli":
            raise ValueError("binarize needs the bernoulli likelihood: its targets are 0 or 1")

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses to train with; the first one's network is used for the pictures."""
        return ("fused", "reference") if self.loss == "both" else (self.loss,)
