"""The table of calls: every public function in every variant, its inputs and its float64 truth.

A likelihood's row in the registry and its line in `truth` make its cases, which reach the tests of
values, gradients, layouts, compilation and determinism, on every backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import vae_fast as vf
from vae_fast.likelihoods import LIKELIHOODS, Likelihood

from . import truth
from .truth import Terms

Inputs = dict[str, Tensor]
Shape = tuple[int, ...]
Shapes = dict[str, Shape]
Parameters = Callable[[int, Shape, int], Shapes]
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
        weight: "", "factor" or "mask": what the input "weight" is.
        kind: of the target.
        likelihood: name of the registry's row, empty without one.
        positive: those of the parameters that are.
    """

    name: str
    parameters: Parameters
    call: Callable[[Inputs, str], Tensor]
    parts: Callable[[Inputs], list[tuple[Terms, int]]]
    reductions: tuple[str, ...] = ALL
    weight: str = ""
    kind: str = ""
    likelihood: str = ""
    positive: tuple[str, ...] = ()

    def make(
        self,
        batch: int = 5,
        event: Shape = (3, 7),
        latent: int = 4,
        dtype: torch.dtype = torch.float32,
        target: torch.dtype | None = None,
    ) -> Inputs:
        """Fresh random inputs; those with gradients are leaves."""
        inputs: Inputs = {}
        for name, shape in self.parameters(batch, event, latent).items():
            values = 1.5 * torch.randn(shape)
            values = values.exp() if name in self.positive else values
            inputs[name] = values.to(dtype).requires_grad_()
        if self.kind:
            made = random_counts if self.kind == "count" else random_target
            inputs["target"] = made((batch, *event), target or dtype)
        if self.weight == "mask":
            inputs["weight"] = torch.rand(batch, *event) < 0.7
            inputs["weight"].view(-1)[:1] = True  # the mean of nothing is NaN
        elif self.weight:
            inputs["weight"] = torch.rand(event).to(dtype)
        return inputs


def random_target(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Values in [0, 1], or whole bytes, or bits."""
    if dtype == torch.uint8:
        return torch.randint(0, 256, shape, dtype=torch.uint8)
    uniform = torch.rand(shape)
    return uniform < 0.5 if dtype == torch.bool else uniform.to(dtype)


def random_counts(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Whole numbers, half of them zero, some large."""
    rate = torch.rand(shape).pow(4) * 200 * (torch.rand(shape) < 0.5)
    return torch.poisson(rate).clamp(max=1 if dtype == torch.bool else 255).to(dtype)


def _x(batch: int, event: Shape, latent: int) -> Shapes:
    return {"x": (batch, *event)}


def _x_samples(batch: int, event: Shape, latent: int) -> Shapes:
    return {"x": (3, batch, *event)}


def _with(base: Parameters, **extra: Callable[[int, Shape, int], Shape]) -> Parameters:
    def shapes(batch: int, event: Shape, latent: int) -> Shapes:
        added = {name: shape(batch, event, latent) for name, shape in extra.items()}
        return base(batch, event, latent) | added

    return shapes


def _nothing(batch: int, event: Shape, latent: int) -> Shapes:
    return {}


_LATENT = {"mu": lambda b, e, z: (b, z), "logvar": lambda b, e, z: (b, z)}


def _lead(i: Inputs) -> int:
    return i["x"].dim() - i["target"].dim() + 1


# The inputs' names of the parameters behind the first one, "x".
OTHERS = ("second", "third", "fourth", "fifth")


def others(i: Inputs) -> list[Tensor]:
    """The parameters behind the first one."""
    return [i[name] for name in OTHERS if name in i]


def _nll(
    likelihood: str, full: bool = True, **options: bool
) -> Callable[[Inputs], list[tuple[Terms, int]]]:
    def parts(i: Inputs) -> list[tuple[Terms, int]]:
        formula = truth.LIKELIHOODS[likelihood]
        terms = formula(i["x"], i["target"], *others(i), full=full, **options)
        return [(terms.times(i["weight"]) if "weight" in i else terms, _lead(i))]

    return parts


def _kl(i: Inputs) -> list[tuple[Terms, int]]:
    return [(truth.kl(i["mu"], i["logvar"], i.get("prior_mu"), i.get("prior_logvar")), 1)]


def _given_kl(i: Inputs) -> Terms:
    return Terms(i["kl"], i["kl"].abs(), {"kl": torch.ones_like(i["kl"])})


def _call_nll(
    likelihood: str, full: bool = True, **options: bool
) -> Callable[[Inputs, str], Tensor]:
    function = getattr(vf, f"{likelihood}_nll")
    row = LIKELIHOODS[likelihood]
    if row.constants != row.full_constants:
        options = {"full": full, **options}

    def call(i: Inputs, reduction: str) -> Tensor:
        given = {"weight": i.get("weight"), "reduction": reduction, **options}
        return function(i["x"], i["target"], *others(i), **given)

    return call


def _call_kl(i: Inputs, reduction: str) -> Tensor:
    priors = (i.get("prior_mu"), i.get("prior_logvar"))
    return vf.gaussian_kl(i["mu"], i["logvar"], *priors, reduction=reduction)


def _call_elbo(likelihood: str) -> Callable[[Inputs, str], Tensor]:
    def call(i: Inputs, reduction: str) -> Tensor:
        return vf.elbo_loss(
            (i["x"], *others(i)) if "second" in i else i["x"],
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


def _elbo_parts(likelihood: str) -> Callable[[Inputs], list[tuple[Terms, int]]]:
    def parts(i: Inputs) -> list[tuple[Terms, int]]:
        kl = _given_kl(i) if "kl" in i else truth.kl(i["mu"], i["logvar"])
        return [*_nll(likelihood)(i), (kl.times(BETA), 1)]

    return parts


# How a parameter is shared.
BINDINGS: dict[str, Callable[[int, Shape, int], Shape]] = {
    "element": lambda b, e, z: (b, *e),
    "column": lambda b, e, z: e,
    "sample": lambda b, e, z: (b, *(1 for _ in e)),
    "one": lambda b, e, z: (),
    "channel": lambda b, e, z: (*e[:1], *(1 for _ in e[1:])),
}


def _positive(row: Likelihood) -> tuple[str, ...]:
    return tuple(n for n, p in zip(("x", *OTHERS), row.parameters, strict=False) if p.positive)


def _of_row(row: Likelihood) -> Iterator[Case]:
    """A likelihood alone, weighted, masked; and with each way to share its other parameters."""

    def case(
        suffix: str,
        shapes: Parameters,
        full: bool = True,
        weight: str = "",
        samples: bool = False,
        **options: bool,
    ) -> Case:
        return Case(
            row.name + suffix,
            shapes,
            _call_nll(row.name, full, **options),
            _nll(row.name, full, **options),
            (*ALL, "draw") if samples else ALL,
            weight,
            row.target,
            row.name,
            () if options.get("log_input") else _positive(row),
        )

    def bound(base: Parameters, binding: str, count: int) -> Parameters:
        """The second parameter bound so, the others each in another way."""
        ways = [binding, "element", "column", "sample"][: count - 1]
        shapes = zip(OTHERS, (BINDINGS[way] for way in ways), strict=False)
        return _with(base, **dict(shapes))

    count = len(row.parameters)
    if row.required == 1:
        yield case("", _x)
        yield case("-weight", _x, full=False, weight="factor")
        yield case("-samples-mask", _x_samples, weight="mask", samples=True)
    if count < 2:
        return
    for binding in BINDINGS:
        samples = binding in ("column", "sample")
        least = max(row.required, 2)
        yield case(
            f"-{binding}",
            bound(_x_samples if samples else _x, binding, count if binding == "one" else least),
            full=binding != "one",
            weight={"one": "factor", "sample": "mask"}.get(binding, ""),
            samples=samples,
        )
    if row.full_constants[1:] == (1.0, 0.0):
        yield case("-logs", bound(_x, "column", count), log_input=True)


def _elbo_case(name: str, likelihood: str, shapes: Parameters, weight: str = "") -> Case:
    row = LIKELIHOODS[likelihood]
    return Case(
        name,
        shapes,
        _call_elbo(likelihood),
        _elbo_parts(likelihood),
        PER_SAMPLE,
        weight,
        row.target,
        likelihood,
        _positive(row),
    )


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
    *(case for row in LIKELIHOODS.values() for case in _of_row(row)),
    _elbo_case("elbo-kl", "bernoulli", _with(_x, kl=lambda b, e, z: (b,))),
    _elbo_case("elbo-latent-samples", "bernoulli", _with(_x_samples, **_LATENT)),
    _elbo_case(
        "elbo-gaussian-weight",
        "gaussian",
        _with(_x, second=BINDINGS["element"], **_LATENT),
        "factor",
    ),
    _elbo_case(
        "elbo-laplace-column",
        "laplace",
        _with(_x, second=BINDINGS["column"], kl=lambda b, e, z: (b,)),
    ),
    _elbo_case(
        "elbo-zero_inflated_negative_binomial",
        "zero_inflated_negative_binomial",
        _with(_x, second=BINDINGS["column"], third=BINDINGS["element"], **_LATENT),
    ),
    Case(
        "vae",
        _with(_x, **_LATENT),
        _call_vae,
        _elbo_parts("bernoulli"),
        PER_SAMPLE,
        kind="unit",
        likelihood="bernoulli",
    ),
]
BY_NAME = {case.name: case for case in CASES}
CALLS = [(case, reduction) for case in CASES for reduction in case.reductions]
CALL_IDS = [f"{case.name}-{reduction}" for case, reduction in CALLS]
