"""Comparison of results with a float64 truth, and the tolerances, each from its arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)

# Elementwise float32 formulas: exp and log1p are good to 1.5 eps each, every sum, product and
# quotient to half an eps. The longest, the KL's gradient of a prior's log-variance, has two
# exponentials and six such operations around them.
ELEMENT_EPS = 6
# Sums of float32 terms: the terms' errors above have random signs and average out; lanes of at most
# 16 terms are added in float32 (sqrt(16) eps / 2 = 2.4e-7), everything else in float64.
FLOAT32_SUM = 1e-6


def compute_eps(dtype: torch.dtype) -> float:
    """Machine epsilon of the arithmetic behind results of this dtype: float32 unless double."""
    return torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps


def ulp(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Distance of neighbouring numbers of `dtype` around each value, in float64."""
    info = torch.finfo(dtype)
    magnitude = values.detach().double().abs().clamp(info.tiny, info.max)
    # The exponent's bits alone are the power of two below: exact, where a GPU's pow need not be.
    return (magnitude.view(torch.int64) & 0x7FF << 52).view(torch.float64) * info.eps


def element_tolerance(
    truth: Tensor, magnitude: Tensor, dtype: torch.dtype, compute: torch.dtype | None = None
) -> Tensor:
    """Error allowed to one element.

    Args:
        truth: its value in float64.
        magnitude: sum of the absolute values of the terms it is made of: what rounding errors are
            relative to where terms cancel.
        dtype: of the result; half precision is rounded once, from float32, and compared with the
            rounded truth, so one ulp apart at most.
        compute: dtype of the arithmetic where it is not that of the result.
    """
    tolerance = ELEMENT_EPS * compute_eps(compute or dtype) * magnitude.detach().abs()
    if dtype in HALF:
        tolerance = tolerance + ulp(truth, dtype)
    elif dtype == torch.float32:
        tolerance = tolerance + torch.finfo(dtype).tiny * torch.finfo(dtype).eps  # subnormal step
    return tolerance


def sum_tolerance(
    truth: Tensor, magnitude: Tensor, dtype: torch.dtype, terms: int, compute: torch.dtype
) -> Tensor:
    """Error allowed to a sum of `terms` elements, whose magnitude is the sum of theirs."""
    if compute == torch.float64:
        # At most 16 + 5 additions in lanes, 31 in the tail, then one for each piece and row.
        relative = compute_eps(compute) * (ELEMENT_EPS + 64 + terms / 64)
    else:
        relative = FLOAT32_SUM
    tolerance = relative * magnitude.detach().abs()
    return tolerance + ulp(truth, dtype) if dtype in HALF else tolerance


def assert_matches(
    actual: Tensor | None,
    truth: Tensor | None,
    tolerance: Tensor | float,
    dtype: torch.dtype | None = None,
    name: str = "result",
) -> None:
    """Asserts |actual - truth| <= tolerance, the same NaNs and infinities, shape and dtype.

    Args:
        actual: what a kernel returned; None for a gradient that is missing.
        truth: the float64 truth; None where there must be no gradient.
        tolerance: of each element, or one number.
        dtype: expected of `actual`; half-precision results are compared with the rounded truth.
        name: for the message.
    """
    if actual is None or truth is None:
        assert actual is None and truth is None, (
            f"{name}: {'missing' if actual is None else 'there, but expected to be None'}"
        )
        return
    assert actual.shape == truth.shape, f"{name}: shape {actual.shape}, expected {truth.shape}"
    if dtype is not None:
        assert actual.dtype == dtype, f"{name}: {actual.dtype}, expected {dtype}"
    got = actual.detach().double()
    want = truth.detach().double()
    # What lies beyond the range of the result's dtype becomes infinity there, like in any cast.
    want = want.to(actual.dtype).double() if actual.is_floating_point() else want
    assert torch.equal(got.isnan(), want.isnan()), (
        f"{name}: NaN at {_where(got.isnan() != want.isnan())}\n got {got}\nwant {want}"
    )
    infinite = got.isinf() | want.isinf()
    assert torch.equal(got[infinite], want[infinite]), (
        f"{name}: infinities at {_where(infinite)}: {got[infinite]}, expected {want[infinite]}"
    )
    compared = ~(infinite | want.isnan())
    error = torch.where(compared, (got - want).abs(), 0.0)
    # The truth, too, is rounded to float32 or half: half a step each, covered by `tolerance`.
    allowed = torch.as_tensor(tolerance, dtype=torch.float64).expand_as(error)
    allowed = torch.where(compared, allowed, 0.0)
    bad = error > allowed
    if bad.any():
        index = int((error - allowed).flatten().argmax())
        raise AssertionError(
            f"{name}: {int(bad.sum())} of {bad.numel()} elements differ; worst at {index}: got"
            f" {got.flatten()[index]:.17g}, expected {want.flatten()[index]:.17g}, error"
            f" {error.flatten()[index]:.3g}, allowed {allowed.flatten()[index]:.3g}"
        )


def assert_same_bits(actual: Tensor, expected: Tensor, name: str = "result") -> None:
    """Asserts equality of every bit: shape, dtype, signs of zero, payloads of NaN."""
    assert actual.dtype == expected.dtype, f"{name}: {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"{name}: {actual.shape}, expected {expected.shape}"
    integer = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}[actual.element_size()]
    bits = [t.detach().clone(memory_format=torch.contiguous_format) for t in (actual, expected)]
    same = torch.equal(*(t.reshape(-1).view(integer) for t in bits))
    assert same, f"{name}: bits differ\n got {actual}\nwant {expected}"


def _where(mask: Tensor) -> str:
    return str(mask.nonzero().flatten(1).tolist()[:8])
