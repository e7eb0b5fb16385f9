"""Property tests: whatever the shape, strides and dtypes, kernels equal the float64 truth."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cases import CALLS, Case, Inputs
from support.check import check_case
from support.places import Place
from torch import Tensor

import vae_fast as vf

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
TARGETS = [*DTYPES, torch.uint8, torch.bool]
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def relaid(draw: st.DrawFn, t: Tensor) -> Tensor:
    """The same values with other strides: permuted memory, gaps, an offset."""
    if t.dim() == 0:
        return t
    order = draw(st.permutations(range(t.dim())))
    gaps = [draw(st.integers(0, 2)) for _ in order]
    sizes = [t.shape[d] + g for d, g in zip(order, gaps, strict=True)]
    memory = torch.zeros(sizes, dtype=t.dtype)
    inverse = [order.index(d) for d in range(t.dim())]
    view = memory.permute(inverse)
    region = view[tuple(slice(view.shape[d] - n, None) for d, n in enumerate(t.shape))]
    region.copy_(t.detach())
    return region.requires_grad_(t.requires_grad)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Case, Inputs, str]:
    case, reduction = draw(st.sampled_from(CALLS))
    batch = draw(st.integers(1, 6))
    event = tuple(draw(st.lists(st.integers(1, 9), min_size=0, max_size=3)))
    latent = draw(st.integers(1, 40))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    inputs = case.make(
        batch, event, latent, draw(st.sampled_from(DTYPES)), draw(st.sampled_from(TARGETS))
    )
    return case, {name: draw(relaid(t)) for name, t in inputs.items()}, reduction


@QUICK
@given(calls())
def test_calls_match_the_truth(call: tuple[Case, Inputs, str]) -> None:
    case, inputs, reduction = call
    check_case(case, inputs, reduction)


@QUICK
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([None, 1, 3]),
    st.data(),
)
def test_sampling_matches_the_reference(
    place: Place, shape: list[int], seed: int, samples: int | None, data: st.DataObject
) -> None:
    mu, logvar = (data.draw(relaid(torch.randn(shape))).requires_grad_() for _ in range(2))
    results = []
    for name in (place.kernels, "reference"):
        with vf.backend(name):
            z, kl = vf.reparameterize_kl(mu, logvar, seed=seed, num_samples=samples)
            grads = torch.autograd.grad((z * z).sum() + kl.sum(), (mu, logvar))
        results.append((z, kl, *grads))
    for fused, plain in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain)
