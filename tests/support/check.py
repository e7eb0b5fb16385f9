"""Runs one case and compares value and gradients with the float64 truth."""

from __future__ import annotations

import torch
from torch import Tensor

from . import truth
from .cases import Case, Inputs
from .compare import assert_matches, element_tolerance, sum_tolerance


def doubles(inputs: Inputs) -> Inputs:
    """The same values in float64, leaves of their own; integer targets stay what they are."""
    return {
        name: t.detach().double().requires_grad_(t.requires_grad) if t.is_floating_point() else t
        for name, t in inputs.items()
    }


def check_case(case: Case, inputs: Inputs, reduction: str, grad: Tensor | None = None) -> None:
    """Asserts that value and gradients of a call match the truth.

    Args:
        case: the variant.
        inputs: from `case.make`, perhaps with other strides.
        reduction: of the call.
        grad: incoming gradient; random by default.
    """
    result = case.call(inputs, reduction)
    exact = doubles(inputs)
    parts = case.parts(exact)
    compute = torch.float64 if result.dtype == torch.float64 else torch.float32
    if compute == torch.float64:
        parts = [(terms.textbook or terms, lead) for terms, lead in parts]
    want: Tensor = torch.zeros((), dtype=torch.float64)
    magnitude: Tensor = torch.zeros((), dtype=torch.float64)
    for terms, lead in parts:
        want = want + truth.reduce(terms.values, reduction, lead, terms.share)
        magnitude = magnitude + truth.reduce(terms.magnitude, reduction, lead, terms.share)
    count = max(terms.values.numel() for terms, _ in parts)
    if reduction == "none":
        tolerance = element_tolerance(want, magnitude, result.dtype)
    else:
        tolerance = sum_tolerance(want, magnitude, result.dtype, count, compute)
    assert_matches(result, want, tolerance, compute, case.name)

    grad = torch.randn_like(result) if grad is None else grad
    leaves = {name: t for name, t in inputs.items() if t.requires_grad}
    grads = torch.autograd.grad(result, list(leaves.values()), grad)
    true_leaves = [exact[name] for name in leaves]
    truths = torch.autograd.grad(want, true_leaves, grad.double(), retain_graph=True)
    sizes = _gradient_magnitudes(parts, reduction, grad.double().abs())
    for (name, leaf), got, true in zip(leaves.items(), grads, truths, strict=True):
        size = sizes[name]
        terms_per_element = size.numel() // max(true.numel(), 1)
        size = _sum_to(size, true)
        if terms_per_element > 1:
            allowed = sum_tolerance(true, size, leaf.dtype, size.numel(), compute)
            # Broadcast half-precision inputs: PyTorch sums gradients that are already rounded.
            allowed = allowed + torch.finfo(leaf.dtype).eps * size
        else:
            allowed = element_tolerance(true, size, leaf.dtype, compute)
        assert_matches(got, true, allowed, leaf.dtype, f"{case.name}: gradient of {name}")


def _gradient_magnitudes(
    parts: list[tuple[truth.Terms, int]], reduction: str, grad: Tensor
) -> dict[str, Tensor]:
    sizes: dict[str, Tensor] = {}
    for terms, lead in parts:
        elements = torch.zeros_like(terms.values, requires_grad=True)
        reduced = truth.reduce(elements, reduction, lead, terms.share)
        (factor,) = torch.autograd.grad(reduced, elements, grad)
        for name, partial in terms.partials.items():
            sizes[name] = (partial * factor).detach()
    return sizes


def _sum_to(size: Tensor, like: Tensor) -> Tensor:
    return size.sum_to_size(like.shape) if size.shape != like.shape else size
