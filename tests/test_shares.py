"""Means that are shares of a size, size * softmax(logits), against their definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.compare import assert_matches, assert_same_bits, ulp
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

import vae_fast as vf

SHARES: dict[str, Callable[..., Tensor]] = {
    "poisson": lambda logits, log_theta, gate, size, t, **o: vf.poisson_nll(
        logits, t, library=size, mean="softmax", **o
    ),
    "negative binomial": lambda logits, log_theta, gate, size, t, **o: vf.negative_binomial_nll(
        logits, t, log_theta.exp(), library=size, mean="softmax", **o
    ),
    "logarithm of theta": lambda logits, log_theta, gate, size, t, **o: vf.negative_binomial_nll(
        logits, t, log_theta, log_input=True, library=size, mean="softmax", **o
    ),
    "zero-inflated": lambda logits, log_theta, gate, size, t, **o: (
        vf.zero_inflated_negative_binomial_nll(
            logits, t, log_theta, gate, log_input=True, library=size, mean="softmax", **o
        )
    ),
}


def defined(
    name: str, logits: Tensor, log_theta: Tensor, gate: Tensor, size: Tensor, t: Tensor, **o: Any
) -> Tensor:
    """By a mean that is made before, in plain PyTorch."""
    event = t.dim() - 1
    shares = logits.flatten(-event).log_softmax(-1).view(logits.shape)
    log_mu = shares + size.log().reshape(-1, *(1,) * event)
    with vf.backend("reference"):
        if name == "poisson":
            return vf.poisson_nll(log_mu, t, **o)
        if name == "zero-inflated":
            return vf.zero_inflated_negative_binomial_nll(
                log_mu, t, log_theta, gate, log_input=True, **o
            )
        return vf.negative_binomial_nll(log_mu, t, log_theta, log_input=True, **o)


def inputs(
    event: tuple[int, ...], draws: int = 0, batch: int = 4, dtype: torch.dtype = torch.float64
) -> tuple[list[Tensor], Tensor]:
    """Leaves and a target, of which most are zero."""
    shape = (batch, *event)
    target = torch.poisson(3 * torch.rand(shape)) * (torch.rand(shape) < 0.3)
    lead = (draws, *shape) if draws else shape
    leaves = [
        3 * torch.randn(lead),
        torch.randn(event),
        torch.randn(lead),
        50 * torch.rand(batch) + 1,
    ]
    return [leaf.to(dtype).requires_grad_() for leaf in leaves], target


def grads_of(loss: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    weights = torch.linspace(0.5, 1.5, loss.numel(), dtype=loss.dtype, device=loss.device)
    return list(torch.autograd.grad(loss, leaves, weights.view(loss.shape), allow_unused=True))


# More than one piece, and more than one unit of the CPU's kernels; a sample of one element.
@pytest.mark.parametrize("event", [(1,), (7,), (2, 3, 5), (1500,), (9000,)])
@pytest.mark.parametrize("draws", [0, 2])
@pytest.mark.parametrize("name", SHARES)
def test_values_and_gradients(
    backend: str, poisoned: None, name: str, draws: int, event: tuple[int, ...]
) -> None:
    """In float64: sums of 9000 terms of some tens."""
    leaves, target = inputs(event, draws)
    for reduction in ("none", "sample", "draw", "batchmean", "sum", "mean"):
        got = SHARES[name](*leaves, target, reduction=reduction)
        want = defined(name, *leaves, target, reduction=reduction)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-10)
        for a, b in zip(grads_of(got, leaves), grads_of(want, leaves), strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("wanted", [(0,), (3,), (1,), (0, 3), (1, 2)])
def test_any_gradient_alone(backend: str, wanted: tuple[int, ...]) -> None:
    leaves, target = inputs((30,))
    for k, leaf in enumerate(leaves):
        leaf.requires_grad_(k in wanted)
    chosen = [leaves[k] for k in wanted]
    results = (f(*leaves, target) for f in (SHARES["zero-inflated"], _zero_inflated))
    for a, b in zip(*(grads_of(r, chosen) for r in results), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def _zero_inflated(*args: Tensor) -> Tensor:
    return defined("zero-inflated", *args)


@pytest.mark.parametrize("kind", ["weight", "mask", "sparse", "column", "one sample", "strided"])
@pytest.mark.parametrize("name", SHARES)
def test_with_everything_else(backend: str, name: str, kind: str) -> None:
    (logits, log_theta, gate, size), target = inputs((40,), batch=1 if kind == "one sample" else 4)
    options: dict[str, Any] = {}
    if kind == "weight":
        options["weight"] = torch.rand(target.shape)
    elif kind == "mask":
        options["weight"] = torch.rand(target.shape) < 0.5
    elif kind == "column":
        size = size[:, None]
    elif kind == "strided":
        logits = logits.detach().repeat(1, 2)[:, ::2].requires_grad_()
    leaves = [logits, log_theta, gate, size]
    given = target.to_sparse_csr() if kind == "sparse" else target
    got = SHARES[name](*leaves, given, reduction="sample", **options)
    want = defined(name, *leaves, target, reduction="sample", **options)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-11)
    for a, b in zip(grads_of(got, leaves), grads_of(want, leaves), strict=True):
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradients_of_float32(backend: str, poisoned: None) -> None:
    (logits, log_theta, gate, size), target = inputs((2500,), dtype=torch.float32)
    got = vf.negative_binomial_nll(
        logits, target, log_theta, log_input=True, library=size, mean="softmax", reduction="sum"
    )
    (grad,) = torch.autograd.grad(got, logits)
    exact = [t.detach().double().requires_grad_() for t in (logits, log_theta, gate, size)]
    want = defined("negative binomial", *exact, target, reduction="sum")
    (truth,) = torch.autograd.grad(want, exact[0])
    shares = exact[0].softmax(-1)
    mu, theta = exact[3][:, None] * shares, exact[1].exp()
    q = mu / (theta + mu)
    by_log_mu = ((target + theta) * q - target).abs()
    # log mu is rounded where it is made; what that moves, and the rounding of the terms.
    size_of_log_mu = 1 + exact[0].abs().max() + exact[3].log().abs().max()
    each = 1e-6 * (by_log_mu + size_of_log_mu * (target + theta) * q * (1 - q))
    total = by_log_mu.sum(-1, keepdim=True)
    allowed = each + shares * (each.sum(-1, keepdim=True) + 1e-6 * size_of_log_mu * total)
    assert_matches(grad, truth, allowed, torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(backend: str, dtype: torch.dtype) -> None:
    (logits, log_theta, gate, size), target = inputs((1500,), dtype=torch.float32)
    half = logits.detach().to(dtype).requires_grad_()
    wide = half.detach().float().requires_grad_()
    for name in ("negative binomial", "poisson"):
        narrow, exact = (SHARES[name](x, log_theta, gate, size, target) for x in (half, wide))
        assert narrow.dtype == torch.float32
        if backend == "cpu":
            assert_same_bits(narrow, exact)
        (a,), (b,) = torch.autograd.grad(narrow, half), torch.autograd.grad(exact, wide)
        assert a.dtype == dtype
        if backend == "cpu":
            assert_same_bits(a, b.to(dtype))
        else:  # PyTorch rounds the shares' gradient once, and the sum of exponentials differs
            assert ((a.float() - b).abs() <= ulp(b, dtype) + 1e-6).all()


def test_logits_of_any_size(backend: str) -> None:
    target = torch.tensor([[3.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    logits = torch.tensor([[1e4, -1e4, 0.0], [-300.0, 500.0, -torch.inf]], requires_grad=True)
    theta, size = torch.full((3,), 2.0), torch.tensor([1e-30, 1e30])
    got = vf.negative_binomial_nll(
        logits, target, theta, library=size, mean="softmax", reduction="sample"
    )
    exact = logits.detach().double().requires_grad_()
    log_theta = theta.double().log()
    want = defined(
        "negative binomial", exact, log_theta, log_theta, size.double(), target, reduction="sample"
    )
    torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=0)
    grads = (
        torch.autograd.grad(loss.sum(), x)[0].double() for loss, x in ((got, logits), (want, exact))
    )
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)


def test_all_the_weight_on_nothing_is_nan(backend: str) -> None:
    logits = torch.full((1, 3), -torch.inf)
    assert vf.poisson_nll(logits, torch.ones(1, 3), library=torch.ones(1), mean="softmax").isnan()


@pytest.mark.cpu_only
def test_bits_do_not_depend_on_threads(backend: str) -> None:
    if backend != "cpu":
        pytest.skip("is promised of the compiled kernels")
    leaves, target = inputs((9000,), batch=40, dtype=torch.float32)
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        loss = SHARES["zero-inflated"](*leaves, target)
        found.append([loss, *torch.autograd.grad(loss, leaves)])
    torch.set_num_threads(threads)
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert_same_bits(a, b)


@pytest.mark.parametrize("name", SHARES)
def test_gradcheck(backend: str, name: str) -> None:
    leaves, target = inputs((3,), batch=2)
    used = leaves if name == "zero-inflated" else [leaves[0], leaves[1], leaves[3]]
    if name == "poisson":
        used = [leaves[0], leaves[3]]

    def call(*given: Tensor) -> Tensor:
        by_id = dict(zip(map(id, used), given, strict=True))
        return SHARES[name](*(by_id.get(id(leaf), leaf) for leaf in leaves), target)

    assert gradcheck(call, used, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(call, used)


@pytest.mark.cpu_only
def test_compile_and_opcheck(backend: str) -> None:
    if backend == "triton":
        pytest.skip("PyTorch makes the means there")
    torch._dynamo.reset()
    leaves, target = inputs((40,), dtype=torch.float32)
    call = SHARES["zero-inflated"]
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for a, b in zip(*(grads_of(f(*leaves, target), leaves) for f in (compiled, call)), strict=True):
        torch.testing.assert_close(a, b)
    logits, log_theta, gate, size = leaves
    params = [logits, log_theta, gate, size.detach().log().reshape(-1, 1).requires_grad_()]
    others = (None, None, None, None, None, None, None, 1.0, 5, [0.0, 1.0, 1.0], 2)
    opcheck(torch.ops.vae_fast.general_elbo.default, (params, target, *others))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mean": "mode"}, "mean"),
        ({"mean": "softmax"}, "library"),
        ({"library": torch.ones(3)}, "library"),
        ({"mean": "softmax", "library": torch.ones(2)}, "library"),
    ],
)
def test_wrong_means_are_refused(options: dict[str, Any], named: str) -> None:
    mu = torch.ones(3, 4)
    with pytest.raises(ValueError, match=named):
        vf.negative_binomial_nll(mu, mu, mu, **options)
    with pytest.raises(ValueError, match=named):
        vf.poisson_nll(mu, mu, **options)
    with pytest.raises(ValueError, match="mean: got 'softmax' with a target without event"):
        vf.poisson_nll(mu[0], mu[0], library=mu[0], mean="softmax")


@pytest.mark.cpu_only
def test_whole_numbers_are_sizes(backend: str) -> None:
    target = torch.randint(0, 9, (4, 6))
    logits, theta = torch.randn(4, 6), torch.ones(6)
    found = [
        vf.negative_binomial_nll(logits, target, theta, library=library, mean="softmax")
        for library in (target.sum(1), target.sum(1).float())
    ]
    assert_same_bits(*found)
