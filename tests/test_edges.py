"""Edges: infinities, NaN, extreme logits and log-variances, exact targets, cancellation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from support.compare import assert_matches, ulp
from torch import Tensor

import vae_fast as vf

INF, NAN = math.inf, math.nan
LOGITS = [0.0, -0.0, 1e-30, 0.5, -0.5, 20.0, -20.0, 87.0, -87.4, 89.0, 100.0, -100.0, 1e4, -1e4]
LOGITS += [3e38, -3e38, INF, -INF, NAN]


@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_bernoulli_edges(backend: str, target: float) -> None:
    x = torch.tensor(LOGITS)[:, None].requires_grad_()
    t = torch.full_like(x, target, requires_grad=False)
    loss = vf.bernoulli_nll(x, t, reduction="none")
    exact = x.detach().double().requires_grad_()
    want = F.binary_cross_entropy_with_logits(exact, t.double(), reduction="none")
    if backend != "reference":
        # PyTorch adds infinities of both signs where the loss is simply infinite.
        wrong = (exact.isinf() & ((exact > 0).double() != t)).detach()
        want = torch.where(wrong, INF, want)
    # Below 2^-126 the exponential is 0: an absolute error of one smallest normal number.
    tiny = torch.finfo(torch.float32).tiny
    magnitude = (exact.abs() + 1).nan_to_num(0, 0, 0).detach()
    assert_matches(loss, want, 4 * torch.finfo(torch.float32).eps * magnitude, torch.float32)
    loss.sum().backward()
    (true,) = torch.autograd.grad(want.sum(), exact)
    finite = exact.detach().isfinite()
    assert_matches(x.grad[finite], true[finite], 2e-7 + tiny, torch.float32)
    if backend != "reference":  # the limits, where autograd multiplies 0 by infinity
        infinite = exact.detach().isinf()
        assert torch.equal(x.grad[infinite], (x[infinite] > 0).float() - t[infinite])
        assert x.grad[exact.isnan()].isnan().all()


@pytest.mark.parametrize("logit", [200.0, -200.0])
def test_saturated_logits_keep_their_gradient(backend: str, logit: float) -> None:
    x = torch.tensor([[logit]], requires_grad=True)
    loss = vf.bernoulli_nll(x, torch.tensor([[0.0 if logit > 0 else 1.0]]))
    loss.backward()
    assert loss.item() == 200.0
    assert x.grad.item() == math.copysign(1.0, logit)


def test_small_losses_keep_their_digits() -> None:
    # (1 - t) x + softplus(-x) would lose 4.5e-5 next to 10.
    x = torch.tensor([[-10.0], [10.0], [-40.0], [-80.0]])
    t = (x > 0).float()
    loss = vf.bernoulli_nll(x, t, reduction="none")
    want = torch.log1p(torch.exp(-x.double().abs()))
    assert_matches(loss, want, 4 * torch.finfo(torch.float32).eps * want, torch.float32)


def test_every_byte_is_read_exactly(backend: str) -> None:
    target = torch.arange(256, dtype=torch.uint8)[:, None]
    mean = torch.zeros(256, 1, requires_grad=True)
    vf.gaussian_nll(mean, target, reduction="sum").backward()
    # On the CPU: dividing by a number, PyTorch multiplies by its reciprocal on a GPU.
    assert torch.equal(-mean.grad.cpu(), target.cpu().float() / 255)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_kl_near_zero(dtype: torch.dtype) -> None:
    values = torch.cat([torch.logspace(-8, 0, 200), torch.zeros(1)])
    logvar = torch.cat([values, -values])[:, None].to(dtype).requires_grad_()
    kl = vf.gaussian_kl(torch.zeros_like(logvar), logvar, reduction="sample")
    assert (kl >= 0).all()
    d = logvar.detach().double()
    series = sum((d**n / float(math.factorial(n)) for n in range(2, 30)), 0 * d)
    want = 0.5 * series[:, 0]
    assert_matches(kl, want, 1e-6 * want + 1e-45, torch.float32)
    kl.sum().backward()
    slope = 0.5 * torch.expm1(d)
    step = ulp(slope, dtype) if dtype != torch.float32 else 0.0
    assert_matches(logvar.grad, slope, 5e-7 * slope.abs() + step, dtype)


@pytest.mark.parametrize(("logvar", "kl"), [(1e-3, 2.500833e-7), (1e-5, 2.5000083e-11)])
def test_kl_where_naive_formulas_cancel(logvar: float, kl: float) -> None:
    lv = torch.tensor([[logvar]])
    got = vf.gaussian_kl(torch.zeros(1, 1), lv).item()
    assert got == pytest.approx(kl, rel=1e-6)


@pytest.mark.parametrize("logvar", [80.0, -80.0, 88.5, -104.0, -1e4, 0.75, -0.75])
def test_kl_of_extreme_logvar(backend: str, logvar: float) -> None:
    lv = torch.full((2, 1), logvar, requires_grad=True)
    kl = vf.gaussian_kl(torch.ones(2, 1), lv, reduction="sample")
    d = lv.detach().double()
    want = (0.5 * (1 + torch.expm1(d) - d))[:, 0]
    assert_matches(kl, want, 1e-6 * want, torch.float32)
    kl.sum().backward()
    slope = 0.5 * torch.expm1(d)
    assert_matches(lv.grad, slope, 1e-6 * slope.abs(), torch.float32)


def test_kl_gradient_keeps_its_digits_far_from_the_prior(backend: str) -> None:
    # (e^d - 1 - d) + d would lose what |d| takes from the digits: 8 ulp at -15, 40 at -80.
    values = torch.cat([torch.linspace(-80, -0.5, 5000), torch.linspace(0.5, 80, 5000)])
    logvar = values[:, None].clone().requires_grad_()
    prior_logvar = torch.zeros_like(logvar).requires_grad_()
    for reduced, sign in (
        (vf.gaussian_kl(torch.zeros_like(logvar), logvar, reduction="sum"), {logvar: 1}),
        (
            vf.gaussian_kl(torch.zeros_like(logvar), logvar, None, prior_logvar, reduction="sum"),
            {logvar: 1, prior_logvar: -1},
        ),
    ):
        slope = 0.5 * torch.expm1(logvar.detach().double())
        for got, s in zip(torch.autograd.grad(reduced, list(sign)), sign.values(), strict=True):
            allowed = 3 * ulp(slope, torch.float32)  # exp 1.5, the subtraction 0.5 doubled at -0.5
            assert_matches(got, s * slope, allowed, torch.float32)


def test_kl_gradient_of_infinite_logvar(backend: str) -> None:
    logvar = torch.tensor([[INF], [-INF]], requires_grad=True)
    vf.gaussian_kl(torch.zeros(2, 1), logvar, reduction="sum").backward()
    assert logvar.grad.flatten().tolist() == [INF, -0.5]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_nan_and_infinity_propagate(backend: str, value: float) -> None:
    def poison(t: Tensor) -> Tensor:
        t = t.clone()
        t[1, 2] = value
        return t

    clean = torch.rand(3, 5)
    for call in (
        lambda t: vf.gaussian_nll(t, clean, reduction="sample"),
        lambda t: vf.gaussian_nll(clean, t, reduction="sample"),
        lambda t: vf.gaussian_kl(t, clean, reduction="sample"),
        lambda t: vf.bernoulli_nll(clean, t, reduction="sample"),
        lambda t: vf.reparameterize_kl(t, clean, seed=1)[1],
        lambda t: vf.reparameterize(t, clean, seed=1).sum(1),
    ):
        result = call(poison(clean))
        assert not result[1].isfinite(), "hidden"
        assert result[[0, 2]].isfinite().all(), "spread to other samples"


@pytest.mark.parametrize(("logvar", "nll"), [(-89.0, -44.5), (-250.0, -125.0), (89.0, 44.5)])
@pytest.mark.parametrize("shape", [(3, 5), (5,), (3, 1), ()], ids=str)
def test_a_mean_that_hits_its_target_costs_no_square(
    backend: str, logvar: float, nll: float, shape: tuple[int, ...]
) -> None:
    mean, target = torch.full((3, 5), 0.25, requires_grad=True), torch.full((3, 5), 0.25)
    lv = torch.full(shape, logvar, requires_grad=True)
    loss = vf.gaussian_nll(mean, target, lv, full=False, reduction="none")
    assert (loss == nll).all()
    loss.sum().backward()
    assert (mean.grad == 0).all()
    assert (lv.grad == 0.5 * (15 // lv.numel())).all()


def test_a_loc_that_hits_its_target_costs_no_distance(backend: str) -> None:
    loc, target = torch.ones(3, 5, requires_grad=True), torch.ones(3, 5)
    scale = torch.full((3, 5), -89.0, requires_grad=True)
    loss = vf.laplace_nll(loc, target, scale, full=False, reduction="none")
    assert (loss == -89).all()
    loss.sum().backward()
    assert (loc.grad == 0).all() and (scale.grad == 1).all()


@pytest.mark.parametrize(
    ("q", "p", "kl"),
    [((0.5, -100.0), (0.5, -100.0), 0.0), ((0.0, -99.0), (0.0, -100.0), 0.5 * (math.e - 2))],
)
def test_kl_to_a_prior_of_tiny_variance(
    backend: str, q: tuple[float, float], p: tuple[float, float], kl: float
) -> None:
    leaves = [torch.full((2, 3), v, requires_grad=True) for v in (*q, *p)]
    got = vf.gaussian_kl(*leaves, reduction="none")
    torch.testing.assert_close(got, torch.full((2, 3), kl))
    got.sum().backward()
    assert (leaves[0].grad == 0).all() and (leaves[2].grad == 0).all()
    slope = 0.5 * math.expm1(q[1] - p[1])
    torch.testing.assert_close(leaves[1].grad, torch.full((2, 3), slope))
    torch.testing.assert_close(leaves[3].grad, torch.full((2, 3), -slope))


def test_poisson_edges(backend: str) -> None:
    """Counts of any size beside any rate, against float64; limits where the rate vanishes."""
    counts = torch.cat([torch.arange(40.0), torch.logspace(1, 6, 60).round(), torch.rand(20) * 3])
    offsets = torch.tensor([-30.0, -3.0, -0.1, -1e-3, 0.0, 1e-3, 0.1, 3.0])
    rate = (counts.clamp(min=0.1).log()[:, None] + offsets).requires_grad_()
    target = counts[:, None].expand_as(rate)
    loss = vf.poisson_nll(rate, target, reduction="none")
    r, t = rate.detach().double(), target.double()
    want = r.exp() - t * r + torch.lgamma(t + 1)
    size = torch.maximum(want, (r.exp() - t).abs() * (1 + r.abs()))
    if backend == "reference":  # whose terms cancel, and t + 1 is rounded
        size = r.exp() + (t * r).abs() + torch.lgamma(t + 1).abs() + 0.1
    assert_matches(loss, want, 1e-6 * size, torch.float32)
    loss.sum().backward()
    assert_matches(rate.grad, r.exp() - t, 1e-6 * (r.exp() * (1 + r.abs()) + t), torch.float32)
    nothing = torch.tensor([[-INF], [-INF], [NAN], [1.0]], requires_grad=True)
    counts = torch.tensor([[0.0], [2.0], [1.0], [NAN]])
    for full in (True, False):
        loss = vf.poisson_nll(nothing, counts, full=full, reduction="none")
        assert loss.flatten()[:2].tolist() == [0.0, INF]
        assert loss[2:].isnan().all()
        (grad,) = torch.autograd.grad(loss.sum(), nothing)
        assert grad.flatten()[:2].tolist() == [0.0, -2.0]


def test_half_precision_inputs_whose_result_needs_float32() -> None:
    # exp(11.1) overflows float16, and squares of its largest values do, too.
    mu = torch.full((1, 4), 60000.0, dtype=torch.float16)
    logvar = torch.full((1, 4), 11.5, dtype=torch.float16)
    kl = vf.gaussian_kl(mu, logvar)
    want = 4 * 0.5 * (60000.0**2 + math.expm1(11.5) - 11.5)
    assert kl.item() == pytest.approx(want, rel=1e-6)


def test_large_gradient_factor_does_not_underflow_in_float16() -> None:
    # A gradient scaler: the gradient before scaling, 1e-3 / 8192, is no float16 number.
    x = torch.full((8192, 1), 0.004, dtype=torch.float16, requires_grad=True)
    target = torch.full((8192, 1), 0.5)
    (vf.bernoulli_nll(x, target) * 65536).backward()
    want = (torch.sigmoid(x.detach().double()) - 0.5) * 8
    assert_matches(x.grad, want, ulp(want, torch.float16), torch.float16)
