"""The registry of likelihoods: one row each.

Argument checks, `elbo_loss`, the tables of tests, benchmarks and documentation, and the operators'
arguments follow from a row. How one is added: CONTRIBUTING.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .reference import elements

Formula = Callable[[Sequence[Tensor], Tensor, Sequence[float]], Tensor]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a likelihood.

    Attributes:
        name: the keyword of its function.
        meaning: for the documentation.
        optional: may be left out; what stands for it is then part of the meaning.
        positive: its constraint: others are any real numbers. Not checked.
    """

    name: str
    meaning: str
    optional: bool = False
    positive: bool = False


@dataclass(frozen=True)
class Likelihood:
    """A family of distributions of one target given parameters.

    Attributes:
        code: the operators', that of csrc/operand.h.
        name: of the family, for ``likelihood=`` of `elbo_loss`.
        parameters: in the order of the operators; the first one has the shape of the target, the
            optional ones come last.
        target: "unit" (numbers in [0, 1]; uint8 is read as t / 255), "real" (uint8 likewise) or
            "count" (whole numbers of any integer dtype).
        formula: its elements in `reference`.
        full_constants: the operators' constants in full: what is added to every element, then
            what the formula takes.
        constants: the same without what does not depend on parameters.
        source: where the formula is from.
        compiled_for_cuda: whether CUDA C++ kernels know it; on a GPU Triton serves the others.
        sparse: whether targets may be sparse: mostly zero, where zero costs as little as others.
        shares: whether the mean may be a share of a size: the operators then take the logarithm of
            each sample's size behind the other parameters, and for the first one logits.
        names: of the parameters.
        required: the number of parameters that cannot be left out.
    """

    code: int
    name: str
    parameters: tuple[Parameter, ...]
    target: str
    formula: Formula
    full_constants: tuple[float, ...]
    constants: tuple[float, ...]
    source: str
    compiled_for_cuda: bool = True
    sparse: bool = False
    shares: bool = False
    names: tuple[str, ...] = field(init=False)
    required: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(p.name for p in self.parameters))
        object.__setattr__(self, "required", sum(not p.optional for p in self.parameters))

    def has_sizes(self, params: Sequence[Tensor]) -> bool:
        """Whether the parameters of a call end with the logarithms of sizes, see `shares`."""
        return self.shares and len(params) > len(self.parameters)

    @property
    def bytes_to_unit(self) -> bool:
        """Whether uint8 targets are read as t / 255."""
        return self.target in ("unit", "real")

    def chosen(self, full: bool, log_input: bool = False) -> tuple[float, ...]:
        """The constants of a call; the last one of a negative binomial is for logarithms."""
        constants = self.full_constants if full else self.constants
        return (*constants[:-1], 1.0) if log_input else constants


BERNOULLI = Likelihood(
    0,
    "bernoulli",
    (Parameter("logits", "log-odds of 1"),),
    "unit",
    elements.bernoulli,
    (0.0,),
    (0.0,),
    "torch.nn.functional.binary_cross_entropy_with_logits",
    sparse=True,
)
GAUSSIAN = Likelihood(
    1,
    "gaussian",
    (Parameter("mean", "mean"), Parameter("logvar", "log-variance, 0 if left out", True)),
    "real",
    elements.gaussian,
    (0.5 * math.log(2 * math.pi),),
    (0.0,),
    "Kingma and Welling 2013, appendix C.2",
)
LAPLACE = Likelihood(
    2,
    "laplace",
    (Parameter("loc", "median"), Parameter("logscale", "log of the scale, 0 if left out", True)),
    "real",
    elements.laplace,
    (math.log(2),),
    (0.0,),
    "torch.distributions.Laplace",
)
POISSON = Likelihood(
    3,
    "poisson",
    (Parameter("log_rate", "log of the mean"),),
    "count",
    elements.poisson,
    (0.0, 1.0),
    (0.0, 0.0),
    "torch.distributions.Poisson",
    sparse=True,
    shares=True,
)
_MU = Parameter("mu", "mean", positive=True)
_THETA = Parameter("theta", "inverse dispersion", positive=True)
NEGATIVE_BINOMIAL = Likelihood(
    4,
    "negative_binomial",
    (_MU, _THETA),
    "count",
    elements.negative_binomial,
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 0.0),
    "scvi-tools, NegativeBinomial",
    compiled_for_cuda=False,
    sparse=True,
    shares=True,
)
ZERO_INFLATED_NEGATIVE_BINOMIAL = Likelihood(
    5,
    "zero_inflated_negative_binomial",
    (_MU, _THETA, Parameter("gate_logits", "log-odds of an extra zero")),
    "count",
    elements.zero_inflated_negative_binomial,
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 0.0),
    "scvi-tools, ZeroInflatedNegativeBinomial",
    compiled_for_cuda=False,
    sparse=True,
    shares=True,
)
NEGATIVE_BINOMIAL_MIXTURE = Likelihood(
    6,
    "negative_binomial_mixture",
    (
        Parameter("mu1", "mean of the first component", positive=True),
        Parameter("theta1", "its inverse dispersion", positive=True),
        Parameter("mu2", "mean of the second component", positive=True),
        Parameter("mixture_logits", "log-odds of the first component"),
        Parameter("theta2", "inverse dispersion of the second, theta1 if left out", True, True),
    ),
    "count",
    elements.negative_binomial_mixture,
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 0.0),
    "scvi-tools, log_mixture_nb",
    compiled_for_cuda=False,
    sparse=True,
)

BY_CODE = (
    BERNOULLI,
    GAUSSIAN,
    LAPLACE,
    POISSON,
    NEGATIVE_BINOMIAL,
    ZERO_INFLATED_NEGATIVE_BINOMIAL,
    NEGATIVE_BINOMIAL_MIXTURE,
)
LIKELIHOODS = {row.name: row for row in BY_CODE}
assert all(row.code == code for code, row in enumerate(BY_CODE))


def find(name: object) -> Likelihood:
    """The row of a name; raises ValueError with the known names otherwise."""
    row = LIKELIHOODS.get(name) if isinstance(name, str) else None
    if row is None:
        known = ", ".join(map(repr, LIKELIHOODS))
        raise ValueError(f"likelihood: got {name!r}, expected one of {known}")
    return row
