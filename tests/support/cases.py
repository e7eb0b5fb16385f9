"""The table of calls: every public function in every variant, its inputs and its float64 truth.

A new variant is one entry here and reaches the tests of values, gradients, layouts, compilation and
determinism, on every backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import vae_fast as vf

from . import truth
from .truth import Terms

Inputs = dict[str, Tensor]
ALL = ("none", "sample", "batchmean", "sum", "mean")
PER_SAMPLE = ("sample", "batchmean", "sum")
BETA = 0.7


@dataclass(frozen=True)
class Case:
    """One variant of a public function.

    Attributes:
        name: of the variant.
        parameters: shapes of the floating-point inputs with gradients, from (B, event, latent).
        call: the function on its inputs with a reduction.
        parts: pairs (terms, lead) whose reductions add up to the result, from float64 inputs.
        reductions: those the function takes.
        constants: inputs without gradients, from a generator and (B, event).
    """

    name: str
    parameters: Callable[[int, tuple[int, ...], int], dict[str, tuple[int, ...]]]
    call: Callable[[Inputs, str], Tensor]
    parts: Callable[[Inputs], list[tuple[Terms, int]]]
    reductions: tuple[str, ...] = ALL
    weighted: bool = False

    def make(
        self,
        batch: int = 5,
        event: tuple[int, ...] = (3, 7),
        latent: int = 4,
        dtype: torch.dtype = torch.float32,
        target: torch.dtype | None = None,
    ) -> Inputs:
        """Fresh random inputs; those with gradients are leaves."""
        inputs: Inputs = {}
        for name, shape in self.parameters(batch, event, latent).items():
            inputs[name] = (1.5 * torch.randn(shape)).to(dtype).requires_grad_()
        if "x" in inputs:
            inputs["target"] = random_target((batch, *event), target or dtype)
        if self.weighted:
            inputs["weight"] = torch.rand(event).to(dtype)
        return inputs


def random_target(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Values in [0, 1], or whole bytes, or bits."""
    if dtype == torch.uint8:
        return torch.randint(0, 256, shape, dtype=torch.uint8)
    uniform = torch.rand(shape)
    return uniform < 0.5 if dtype == torch.bool else uniform.to(dtype)


def _x(batch: int, event: tuple[int, ...], latent: int) -> dict[str, tuple[int, ...]]:
    return {"x": (batch, *event)}


def _x_samples(batch: int, event: tuple[int, ...], latent: int) -> dict[str, tuple[int, ...]]:
    return {"x": (3, batch, *event)}


def _with(
    base: Callable[[int, tuple[int, ...], int], dict[str, tuple[int, ...]]],
    **extra: Callable[[int, tuple[int, ...], int], tuple[int, ...]],
) -> Callable[[int, tuple[int, ...], int], dict[str, tuple[int, ...]]]:
    def shapes(batch: int, event: tuple[int, ...], latent: int) -> dict[str, tuple[int, ...]]:
        added = {name: shape(batch, event, latent) for name, shape in extra.items()}
        return base(batch, event, latent) | added

    return shapes


def _nothing(batch: int, event: tuple[int, ...], latent: int) -> dict[str, tuple[int, ...]]:
    return {}


_LATENT = {"mu": lambda b, e, z: (b, z), "logvar": lambda b, e, z: (b, z)}
_weighted = {"weighted": True}


def _lead(i: Inputs) -> int:
    return i["x"].dim() - i["target"].dim() + 1


def _bernoulli(i: Inputs) -> list[tuple[Terms, int]]:
    terms = truth.bernoulli(i["x"], i["target"])
    return [(terms.times(i["weight"]) if "weight" in i else terms, _lead(i))]


def _gaussian(constant: bool) -> Callable[[Inputs], list[tuple[Terms, int]]]:
    def parts(i: Inputs) -> list[tuple[Terms, int]]:
        terms = truth.gaussian(i["x"], i["target"], i.get("params_logvar"), constant)
        return [(terms.times(i["weight"]) if "weight" in i else terms, _lead(i))]

    return parts


def _kl(i: Inputs) -> list[tuple[Terms, int]]:
    return [(truth.kl(i["mu"], i["logvar"], i.get("prior_mu"), i.get("prior_logvar")), 1)]


def _given_kl(i: Inputs) -> Terms:
    return Terms(i["kl"], i["kl"].abs(), {"kl": torch.ones_like(i["kl"])})


def _call_bernoulli(i: Inputs, reduction: str) -> Tensor:
    return vf.bernoulli_nll(i["x"], i["target"], weight=i.get("weight"), reduction=reduction)


def _call_gaussian(full: bool) -> Callable[[Inputs, str], Tensor]:
    def call(i: Inputs, reduction: str) -> Tensor:
        return vf.gaussian_nll(
            i["x"],
            i["target"],
            i.get("params_logvar"),
            full=full,
            weight=i.get("weight"),
            reduction=reduction,
        )

    return call


def _call_kl(i: Inputs, reduction: str) -> Tensor:
    priors = (i.get("prior_mu"), i.get("prior_logvar"))
    return vf.gaussian_kl(i["mu"], i["logvar"], *priors, reduction=reduction)


def _call_elbo(likelihood: str) -> Callable[[Inputs, str], Tensor]:
    def call(i: Inputs, reduction: str) -> Tensor:
        params = (i["x"], i["params_logvar"]) if "params_logvar" in i else i["x"]
        return vf.elbo_loss(
            params,
            i["target"],
            kl=i.get("kl"),
            mu=i.get("mu"),
            logvar=i.get("logvar"),
            beta=BETA,
            likelihood=likelihood,
            weight=i.get("weight"),
            reduction=reduction,
        ).loss

    return call


def _call_vae(i: Inputs, reduction: str) -> Tensor:
    return vf.vae_loss(i["x"], i["target"], i["mu"], i["logvar"], beta=BETA, reduction=reduction)


def _elbo(
    recon: Callable[[Inputs], list[tuple[Terms, int]]],
) -> Callable[[Inputs], list[tuple[Terms, int]]]:
    def parts(i: Inputs) -> list[tuple[Terms, int]]:
        kl = _given_kl(i) if "kl" in i else truth.kl(i["mu"], i["logvar"])
        return [*recon(i), (kl.times(BETA), 1)]

    return parts


CASES = [
    Case("kl", _with(_nothing, **_LATENT), _call_kl, _kl),
    Case(
        "kl-prior",
        _with(
            _nothing,
            **_LATENT,
            prior_mu=lambda b, e, z: (b, z),
            prior_logvar=lambda b, e, z: (b, z),
        ),
        _call_kl,
        _kl,
    ),
    Case(
        "kl-prior-broadcast",
        _with(
            _nothing, **_LATENT, prior_mu=lambda b, e, z: (z,), prior_logvar=lambda b, e, z: (b, 1)
        ),
        _call_kl,
        _kl,
    ),
    Case("bernoulli", _x, _call_bernoulli, _bernoulli),
    Case("bernoulli-weight", _x, _call_bernoulli, _bernoulli, **_weighted),
    Case("bernoulli-samples", _x_samples, _call_bernoulli, _bernoulli),
    Case("gaussian-unit", _x, _call_gaussian(True), _gaussian(True)),
    Case("gaussian-unit-samples", _x_samples, _call_gaussian(False), _gaussian(False)),
    Case(
        "gaussian-shared",
        _with(_x, params_logvar=lambda b, e, z: ()),
        _call_gaussian(True),
        _gaussian(True),
    ),
    Case(
        "gaussian-shared-weight-samples",
        _with(_x_samples, params_logvar=lambda b, e, z: ()),
        _call_gaussian(True),
        _gaussian(True),
        **_weighted,
    ),
    Case(
        "gaussian-element",
        _with(_x, params_logvar=lambda b, e, z: (b, *e)),
        _call_gaussian(True),
        _gaussian(True),
    ),
    Case(
        "gaussian-broadcast-weight",
        _with(_x, params_logvar=lambda b, e, z: e),
        _call_gaussian(False),
        _gaussian(False),
        **_weighted,
    ),
    Case(
        "elbo-kl",
        _with(_x, kl=lambda b, e, z: (b,)),
        _call_elbo("bernoulli"),
        _elbo(_bernoulli),
        PER_SAMPLE,
    ),
    Case(
        "elbo-latent-samples",
        _with(_x_samples, **_LATENT),
        _call_elbo("bernoulli"),
        _elbo(_bernoulli),
        PER_SAMPLE,
    ),
    Case(
        "elbo-gaussian-weight",
        _with(_x, params_logvar=lambda b, e, z: (b, *e), **_LATENT),
        _call_elbo("gaussian"),
        _elbo(_gaussian(True)),
        PER_SAMPLE,
        **_weighted,
    ),
    Case("vae", _with(_x, **_LATENT), _call_vae, _elbo(_bernoulli), PER_SAMPLE),
]
BY_NAME = {case.name: case for case in CASES}
CALLS = [(case, reduction) for case in CASES for reduction in case.reductions]
CALL_IDS = [f"{case.name}-{reduction}" for case, reduction in CALLS]
