"""What defines a training run. Free of torch, so that the command line can read the defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

LOSSES = ("fused", "reference", "both")
MODELS = (
    "vae",
    "cvae",
    "flow-vae",
    "categorical-vae",
    "ae",
    "denoising-ae",
    "sparse-ae",
    "scvi",
)
AUTOENCODERS = ("ae", "denoising-ae", "sparse-ae")
CONDITIONAL = ("cvae", "scvi")  # scvi where the cells come with a covariate
# Likelihoods.
OF_IMAGES = ("bernoulli", "gaussian", "gaussian-shared", "gaussian-pixel")
OF_COUNTS = ("nb", "zinb", "poisson")
CHOICES = {
    "model": MODELS,
    "loss": LOSSES,
    "network": ("mlp", "conv"),
    "activation": ("relu", "tanh"),
    "likelihood": (*OF_IMAGES, *OF_COUNTS),
    "dispersion": ("gene", "gene-cell"),
    "precision": ("fp32", "bf16"),
    "flow": ("iaf", "planar"),
    "corruption": ("gaussian", "dropout"),
}
# Settings that one model alone has.
OWNERS = {
    "flow": "flow-vae",
    "flow_steps": "flow-vae",
    "categories": "categorical-vae",
    "corruption": "denoising-ae",
    "corruption_level": "denoising-ae",
    "sparsity": "sparse-ae",
    "dispersion": "scvi",
    "label_key": "scvi",
    "covariate_key": "scvi",
    "layer": "scvi",
}
# Where a model has other defaults: scVI's (Lopez et al. 2018).
DEFAULTS: dict[str, dict[str, Any]] = {"scvi": {"likelihood": "zinb", "latent": 10, "hidden": 128}}


@dataclass(frozen=True)
class TrainConfig:
    """The settings that decide the result of a run; the defaults are those of pytorch/examples."""

    dataset: str = "digits"
    split: int = 0
    model: str = "vae"
    network: str = "mlp"
    activation: str = "relu"
    latent: int = 20
    hidden: int = 400
    likelihood: str = "bernoulli"
    samples: int = 1
    flow: str = "iaf"
    flow_steps: int = 4
    categories: int = 10
    corruption: str = "gaussian"
    corruption_level: float = 0.3
    sparsity: float = 0.05
    dispersion: str = "gene"
    label_key: str | None = None
    covariate_key: str | None = None
    layer: str | None = None
    epochs: int = 10
    batch_size: int = 128
    beta: float = 1.0
    lr: float = 1e-3
    seed: int = 0
    binarize: bool = False
    without_label: int | None = None
    precision: str = "fp32"
    loss: str = "fused"

    def __post_init__(self) -> None:
        for name in ("latent", "hidden", "samples", "flow_steps", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.categories < 2:
            raise ValueError(f"categories must be at least 2, got {self.categories}")
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise ValueError(f"beta must be a finite number >= 0, got {self.beta}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be a finite number > 0, got {self.lr}")
        for name in ("seed", "split"):
            if not 0 <= getattr(self, name) < 2**63:
                raise ValueError(
                    f"{name} must be at least 0 and below 2**63, got {getattr(self, name)}"
                )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(choices)
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        for name in ("corruption_level", "sparsity"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.binarize and self.likelihood != "bernoulli":
            raise ValueError("binarize needs the bernoulli likelihood: its targets are 0 or 1")
        fitting = OF_COUNTS if self.model == "scvi" else OF_IMAGES
        if self.likelihood not in fitting:
            raise ValueError(
                f"likelihood must be one of {', '.join(fitting)} for the model {self.model}, got"
                f" {self.likelihood!r}"
            )
        if self.likelihood == "poisson" and self.dispersion != "gene":
            raise ValueError(f"dispersion is a setting of nb and zinb, got {self.dispersion}")
        if self.model == "scvi" and self.network != "mlp":
            raise ValueError(f"network is a setting of images, got {self.network}")
        if self.samples > 1 and self.model in AUTOENCODERS:
            raise ValueError(f"samples needs a latent distribution, which {self.model} has not")
        for field in fields(self):
            owner = OWNERS.get(field.name)
            if owner not in (None, self.model) and getattr(self, field.name) != field.default:
                raise ValueError(f"{field.name} is a setting of {owner}, got model {self.model}")

    @classmethod
    def of(cls, **given: Any) -> TrainConfig:
        """The given settings, and the model's defaults for the others."""
        defaults: dict[str, Any] = DEFAULTS.get(given.get("model", cls.model), {})
        return cls(**(defaults | given))

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses to train with; the first one's network is used for the pictures."""
        return ("fused", "reference") if self.loss == "both" else (self.loss,)
