"""The comparison helper finds what it must find."""

from __future__ import annotations

import math

import pytest
import torch
from support.cases import BY_NAME
from support.check import check_case
from support.compare import assert_matches, assert_same_bits, ulp

ONE = torch.ones(2)
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (torch.tensor([1.0, NAN]), torch.tensor([1.0, 1.0])),
        (torch.tensor([1.0, 1.0]), torch.tensor([1.0, NAN])),
        (torch.tensor([INF, 1.0]), torch.tensor([-INF, 1.0])),
        (torch.tensor([1.0, 1.0]), torch.tensor([INF, 1.0])),
        (torch.ones(3), ONE),
        (torch.ones(2, 1), ONE),
        (None, ONE),
        (ONE, None),
        (torch.tensor([1.0, 1.0 + 2e-3]), ONE),
    ],
)
def test_differences_are_found(actual: torch.Tensor | None, expected: torch.Tensor | None) -> None:
    with pytest.raises(AssertionError):
        assert_matches(actual, expected, 1e-3, torch.float32)


def test_wrong_dtype_is_found() -> None:
    with pytest.raises(AssertionError, match="float64"):
        assert_matches(ONE.double(), ONE.double(), 1.0, torch.float32)


def test_equal_values_pass() -> None:
    special = torch.tensor([NAN, INF, -INF, 0.0])
    assert_matches(special, special.double(), 0.0, torch.float32)
    assert_matches(None, None, 0.0)


def test_bits_tell_signed_zeros_apart() -> None:
    assert_same_bits(torch.tensor([0.0, NAN]), torch.tensor([0.0, NAN]))
    with pytest.raises(AssertionError):
        assert_same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))


def test_ulp() -> None:
    values = torch.tensor([1.0, 1.5, 2.0, 0.75], dtype=torch.float64)
    eps = torch.finfo(torch.bfloat16).eps
    assert ulp(values, torch.bfloat16).tolist() == [eps, eps, 2 * eps, eps / 2]


def test_check_case_finds_a_wrong_value_and_a_wrong_gradient() -> None:
    case = BY_NAME["bernoulli"]
    scaled = type(case)(
        case.name, case.parameters, lambda i, r: case.call(i, r) * (1 + 1e-5), case.parts
    )
    with pytest.raises(AssertionError, match="elements differ"):
        check_case(scaled, case.make(), "sum")

    class WrongGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, grad: torch.Tensor) -> torch.Tensor:
            return grad * (1 + 1e-4)

    wrong = type(case)(
        case.name,
        case.parameters,
        lambda i, r: WrongGradient.apply(case.call(i, r)),
        case.parts,
    )
    with pytest.raises(AssertionError, match="gradient of x"):
        check_case(wrong, case.make(), "sum")


@pytest.mark.parametrize("count", [1, 100, 10**4, 10**7])
def test_poison_reaches_what_kernels_allocate(poisoned: None, count: int) -> None:
    # The stable ABI's allocation, too, ends in malloc: an operator of PyTorch that fills nothing.
    assert torch.empty(count)[[0, -1]].tolist() == pytest.approx([-1.6947395e38] * 2)
