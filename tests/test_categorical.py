"""The categorical latent: values against float64, noise, gradients, transforms, compilation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.compare import ELEMENT_EPS, assert_same_bits, compute_eps, ulp
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

import vae_fast as vf
from vae_fast.reference.noise import gumbel, gumbel_of

OPS = torch.ops.vae_fast
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Around the groups of four of the noise, vector widths, and the bound between few and many.
CATEGORIES = [1, 2, 3, 4, 5, 8, 10, 17, 32, 33, 63, 64, 65, 100, 1023, 1024, 1025, 2500]
SEED = 2**40 + 17


def truth(logits: Tensor, tau: float, seed: int, hard: bool) -> tuple[Tensor, Tensor]:
    """y and KL in float64, by the textbook; the noise is float32 by contract."""
    x = logits.detach().double()
    noise = gumbel(torch.tensor([seed], device=x.device), x.shape).double()
    y = ((x + noise) / tau).softmax(-1)
    if hard:
        y = torch.nn.functional.one_hot(y.argmax(-1), x.shape[-1]).double()
    log_q = x.log_softmax(-1)
    terms = log_q.exp() * torch.where(log_q == -math.inf, 0.0, log_q + math.log(x.shape[-1]))
    return y, terms.flatten(1).sum(1)


def gradient(logits: Tensor, tau: float, seed: int, gy: Tensor | None, gk: Tensor | None) -> Tensor:
    """The gradient of the soft sample and of the KL in float64."""
    x = logits.detach().double()
    y, _ = truth(x, tau, seed, False)
    q, log_q = x.softmax(-1), x.log_softmax(-1)
    result = torch.zeros_like(x)
    if gy is not None:
        g = gy.double()
        result += y * (g - (g * y).sum(-1, keepdim=True)) / tau
    if gk is not None:
        finite = torch.where(q == 0, 0.0, log_q)
        centred = finite - (q * finite).sum(-1, keepdim=True)
        result += gk.double().view(-1, *[1] * (x.dim() - 1)) * q * centred
    return result


def check(logits: Tensor, tau: float, hard: bool, use: str = "both") -> None:
    leaf = logits.detach().requires_grad_()
    y, kl = vf.gumbel_softmax_kl(leaf, tau, hard=hard, seed=SEED)
    want_y, want_kl = truth(logits, tau, SEED, hard)
    assert y.dtype == logits.dtype and y.shape == logits.shape
    assert kl.dtype == (torch.float64 if logits.dtype == torch.float64 else torch.float32)
    eps = compute_eps(logits.dtype)
    half = logits.dtype in (torch.bfloat16, torch.float16)
    # (logit + noise) / tau is rounded three times, and exp sees its absolute error; the
    # sum over the categories adds terms of one sign.
    size = (logits.double().abs().clamp(max=100).amax() + 25) / tau
    relative = (2 * size + ELEMENT_EPS + 4) * eps
    rounding = ulp(want_y, logits.dtype) if half else torch.zeros_like(want_y)
    assert ((y.double() - want_y).abs() <= relative * want_y + rounding + 1e-37).all()
    # Of each variable, terms as large as log K at most; then a sum over the variables.
    variables = max(logits[0].numel() // logits.shape[-1], 1)
    largest = logits.double().abs().clamp(max=100).amax() + math.log(logits.shape[-1]) + 1
    assert ((kl.double() - want_kl).abs() <= ELEMENT_EPS * eps * largest * variables).all()

    gy = torch.randn_like(y) if use != "kl" else None
    gk = torch.randn_like(kl) if use != "y" else None
    outputs = [o for o, g in ((y, gy), (kl, gk)) if g is not None]
    given = [g for g in (gy, gk) if g is not None]
    (got,) = torch.autograd.grad(outputs, leaf, given)
    assert got.dtype == logits.dtype
    want = gradient(logits, tau, SEED, gy, gk)
    soft, _ = truth(logits, tau, SEED, False)
    magnitude = torch.zeros_like(want)
    if gy is not None:
        dot = (gy.double().abs() * soft).sum(-1, keepdim=True)
        magnitude += soft * (gy.double().abs() + dot) / tau * (2 * size + 2 * ELEMENT_EPS)
    if gk is not None:
        q = logits.double().softmax(-1)
        scale = gk.double().abs().view(-1, *[1] * (want.dim() - 1))
        magnitude += scale * q * largest * (2 * ELEMENT_EPS + 2 * largest)
    rounding = ulp(want, logits.dtype) if half else torch.zeros_like(want)
    assert ((got.double() - want).abs() <= eps * magnitude + rounding + 1e-37).all()


@pytest.mark.parametrize("categories", CATEGORIES)
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
def test_lengths(backend: str, poisoned: None, categories: int, hard: bool) -> None:
    check(2 * torch.randn(3, 7, categories), 0.7, hard)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("categories", [10, 100])
@pytest.mark.parametrize("use", ["both", "y", "kl"])
def test_dtypes(
    backend: str, poisoned: None, categories: int, dtype: torch.dtype, use: str
) -> None:
    check((2 * torch.randn(5, 4, categories)).to(dtype), 0.5, False, use)


@pytest.mark.parametrize("shape", [(1, 1, 3), (4, 3), (2, 3, 2, 5), (2, 4097, 3), (70, 1, 10)])
def test_shapes(backend: str, poisoned: None, shape: tuple[int, ...]) -> None:
    check(torch.randn(shape), 1.0, False)


def test_layouts(backend: str) -> None:
    base = torch.randn(6, 8, 10)
    for view in (
        base[1:, ::2],
        base.transpose(0, 1),
        base[..., ::3],
        base[:1].expand(3, 8, 10),
        base.flatten()[1:121].view(3, 4, 10),
    ):
        y, kl = vf.gumbel_softmax_kl(view, 0.5, seed=SEED)
        wants = vf.gumbel_softmax_kl(view.contiguous(), 0.5, seed=SEED)
        assert_same_bits(y, wants[0])
        assert_same_bits(kl, wants[1])
    leaf = torch.randn(3, 2, 4, requires_grad=True)
    y, kl = vf.gumbel_softmax_kl(leaf, 0.5, seed=SEED)
    wide = torch.randn(3, 4, 2).transpose(1, 2)
    (got,) = torch.autograd.grad((y, kl), leaf, (wide, torch.ones(()).expand(3)), retain_graph=True)
    (want,) = torch.autograd.grad((y, kl), leaf, (wide.contiguous(), torch.ones(3)))
    assert_same_bits(got, want)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4)])
def test_empty(backend: str, shape: tuple[int, ...]) -> None:
    leaf = torch.empty(shape, requires_grad=True)
    y, kl = vf.gumbel_softmax_kl(leaf)
    assert y.shape == shape and kl.shape == shape[:1] and (kl == 0).all()
    (grad,) = torch.autograd.grad((y, kl), leaf, (torch.ones_like(y), torch.ones_like(kl)))
    assert grad.shape == shape


@pytest.mark.parametrize("scale", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("categories", [2, 10, 100])
def test_kl_near_uniform(backend: str, categories: int, scale: float) -> None:
    """About half the variance of the logits: the textbook formula loses it to cancellation."""
    logits = (3 + scale * torch.randn(6, 1, categories)).float()
    x = logits.double()
    d = x - x.mean(-1, keepdim=True)
    excess = (torch.expm1(d) - d).mean(-1)
    want = ((d * torch.expm1(d)).mean(-1) / (1 + excess) - torch.log1p(excess)).sum(1)
    for got in (vf.gumbel_softmax_kl(logits)[1], vf.categorical_kl(logits, reduction="sample")):
        # The mean of the logits, about 3, is rounded at each addition, and the KL grows by half the
        # square of its error.
        eps = torch.finfo(torch.float32).eps
        rounding = (3 * eps * math.sqrt(categories)) ** 2
        assert ((got.double() - want).abs() <= 20 * eps * want + rounding).all()
        assert (got >= 0).all()


@pytest.mark.parametrize("categories", [4, 80])
def test_impossible_categories(backend: str, categories: int) -> None:
    """A logit of -inf: never drawn, adds nothing to the KL, has no gradient."""
    logits = torch.randn(3, 5, categories)
    logits[:, :, 1] = -math.inf
    logits[0, 0, 2:] = -math.inf
    leaf = logits.clone().requires_grad_()
    y, kl = vf.gumbel_softmax_kl(leaf, 0.5, seed=SEED)
    want_y, want_kl = truth(logits, 0.5, SEED, False)
    assert (y[:, :, 1] == 0).all() and torch.allclose(y.double(), want_y, atol=1e-5)
    assert torch.allclose(kl.double(), want_kl, rtol=1e-5)
    (grad,) = torch.autograd.grad((y, kl), leaf, (torch.randn_like(y), torch.ones(3)))
    assert (grad[logits == -math.inf] == 0).all() and grad.isfinite().all()
    assert (vf.gumbel_softmax_kl(logits, hard=True)[0][:, :, 1] == 0).all()


@pytest.mark.parametrize("categories", [4, 80])
@pytest.mark.parametrize("hard", [False, True])
def test_nan_and_infinity_propagate(backend: str, categories: int, hard: bool) -> None:
    for value in (math.nan, math.inf):
        logits = torch.randn(2, 3, categories)
        logits[0, 1, 2] = value
        y, kl = vf.gumbel_softmax_kl(logits, hard=hard)
        assert y[0, 1].isnan().all() and kl[0].isnan()
        assert y[1].isfinite().all() and kl[1].isfinite()
        assert y[0, 0].isfinite().all() and y[0, 2].isfinite().all()
    impossible = torch.full((1, 1, categories), -math.inf)
    y, kl = vf.gumbel_softmax_kl(impossible, hard=hard)
    assert y.isnan().all() and kl.isnan().all()


def test_extreme_temperatures(backend: str) -> None:
    logits = torch.randn(4, 3, 10)
    cold = vf.gumbel_softmax_kl(logits, 1e-3, seed=SEED)[0]
    hard = vf.gumbel_softmax_kl(logits, 1e-3, hard=True, seed=SEED)[0]
    assert torch.equal(cold.argmax(-1), hard.argmax(-1))
    assert ((hard == 0) | (hard == 1)).all() and (hard.sum(-1) == 1).all()
    warm = vf.gumbel_softmax_kl(logits, 1e6, seed=SEED)[0]
    assert (warm - 0.1).abs().max() < 1e-5


def test_noise_bits(backend: str) -> None:
    """y of two categories tells the difference of their noise; in float64 all of it."""
    count = 4096
    logits = torch.zeros(count // 2, 2, dtype=torch.float64)
    y, _ = vf.gumbel_softmax_kl(logits, seed=SEED)
    noise = gumbel(torch.tensor([SEED], device=logits.device), (count // 2, 2)).double()
    got, want = y[:, 0].logit(), noise[:, 0] - noise[:, 1]
    # One wrong bit of a noise is 2^-24 of it at least; the softmax and logit in float64 lose less,
    # as long as y is not close to 0 or 1.
    inside = (y[:, 0] > 1e-4) & (y[:, 0] < 1 - 1e-4)
    assert (got - want)[inside].abs().max() < 1e-10


def test_gumbel_distribution() -> None:
    count = 400_000
    noise = gumbel(torch.tensor([12345]), (count,)).double()
    assert noise.isfinite().all()
    mean, variance = 0.5772156649, math.pi**2 / 6
    assert abs(noise.mean() - mean) < 5 * math.sqrt(variance / count)
    # The kurtosis of a Gumbel variable is 5.4, so its variance has this standard error.
    assert abs(noise.var() - variance) < 5 * variance * math.sqrt(4.4 / count)
    ordered = torch.exp(-torch.exp(-noise)).sort().values
    steps = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    assert (ordered - steps).abs().max() < 1.95 / math.sqrt(count)  # Kolmogorov-Smirnov, 0.1 %


def test_gumbel_tails_are_exact() -> None:
    bits = torch.cat(
        [torch.arange(2000), 2**31 - 1000 + torch.arange(2000), 2**32 - 2000 + torch.arange(2000)]
    )
    got = gumbel_of(bits).double()
    # u = (2 bits + 1) / 2^33, its complement is exact in float64, too.
    u, rest = (2.0 * bits + 1) / 2**33, (2.0 * (2**32 - 1 - bits) + 1) / 2**33
    exponential = torch.where(u < 0.5, -u.log(), -torch.log1p(-rest))
    want = -exponential.log()
    # Each logarithm is good to an ulp; the second one makes the relative error of the first
    # an absolute one.
    eps = torch.finfo(torch.float32).eps
    assert ((got - want).abs() <= 3 * eps * (1 + want.abs())).all()


@pytest.mark.parametrize("hard", [False, True])
def test_samples_follow_q(hard: bool) -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0])
    count = 40_000
    y, _ = vf.gumbel_softmax_kl(logits.expand(count, 1, 4), 0.5, hard=hard)
    share = torch.nn.functional.one_hot(y.argmax(-1), 4).double().mean((0, 1))
    q = logits.double().softmax(0).to(share.device)
    assert ((share - q).abs() < 5 * (q * (1 - q) / count).sqrt()).all()


def test_seed_comes_from_the_generator() -> None:
    logits = torch.randn(3, 2, 5)
    torch.manual_seed(1)
    first = vf.gumbel_softmax_kl(logits)[0]
    torch.manual_seed(1)
    assert_same_bits(vf.gumbel_softmax_kl(logits)[0], first)
    assert not torch.equal(vf.gumbel_softmax_kl(logits)[0], first)
    key = torch.tensor([7])
    assert_same_bits(
        vf.gumbel_softmax_kl(logits, seed=7)[0], vf.gumbel_softmax_kl(logits, seed=key)[0]
    )


def test_gradients_of_float64(backend: str) -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)

    def call(logits: Tensor) -> tuple[Tensor, Tensor]:
        return vf.gumbel_softmax_kl(logits, 0.8, seed=3)

    assert gradcheck(call, (logits,), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(call, (logits,))


@pytest.mark.parametrize("spread", [1.0, 9.0], ids=["near", "far"])
def test_gradients_of_categorical_kl(spread: float) -> None:
    logits, prior = (
        (spread * torch.randn(2, 3, 4, dtype=torch.float64)).requires_grad_() for _ in range(2)
    )
    for reduction in ("none", "sample", "batchmean", "sum", "mean"):
        assert gradcheck(
            lambda a, b, r=reduction: vf.categorical_kl(a, b, reduction=r), (logits, prior)
        )
    assert gradgradcheck(vf.categorical_kl, (logits, prior))


def test_hard_gradient_is_the_soft_one(backend: str) -> None:
    leaf = torch.randn(3, 4, 6, requires_grad=True)
    grad = torch.randn(3, 4, 6)
    found = [
        torch.autograd.grad(vf.gumbel_softmax_kl(leaf, 0.5, hard=h, seed=1)[0], leaf, grad)[0]
        for h in (False, True)
    ]
    torch.testing.assert_close(found[0], found[1])


def test_second_backward_is_twice_the_first(backend: str) -> None:
    leaf = torch.randn(3, 4, 6, requires_grad=True)
    y, kl = vf.gumbel_softmax_kl(leaf, 0.5)
    grads = torch.randn_like(y), torch.randn_like(kl)
    (first,) = torch.autograd.grad((y, kl), leaf, grads, retain_graph=True)
    (second,) = torch.autograd.grad((y, kl), leaf, [2 * g for g in grads])
    assert_same_bits(second, 2 * first)


@pytest.mark.parametrize(("hard", "given"), [(False, "number"), (True, "tensor")])
def test_opcheck(hard: bool, given: str) -> None:
    logits = torch.randn(3, 2, 5, requires_grad=True)
    tau = torch.tensor(0.5) if given == "tensor" else None
    seed = torch.tensor([4])
    opcheck(OPS.gumbel_softmax_kl.default, (logits, seed, tau, 0.5, hard))
    opcheck(OPS.gumbel_softmax_kl_raw.default, (logits.detach(), seed, tau, 0.5, hard))
    y, kl = torch.randn(3, 2, 5), torch.randn(3)
    for grads in ((y, kl), (None, kl), (y, None)):
        opcheck(OPS.gumbel_softmax_kl_backward.default, (*grads, logits.detach(), seed, tau, 0.5))


@pytest.mark.parametrize("dynamic", [None, True], ids=["automatic", "dynamic"])
def test_compiles_into_one_graph_for_every_temperature(dynamic: bool | None) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, dynamic=dynamic, backend=counter)
    def call(logits: Tensor, tau: float, seed: Tensor) -> tuple[Tensor, Tensor]:
        return vf.gumbel_softmax_kl(logits, tau, seed=seed)

    leaf = torch.randn(4, 3, 5, requires_grad=True)
    for index, tau in enumerate((1.5, 0.75, 0.3)):
        got = call(leaf, tau, torch.tensor([index]))
        want = vf.gumbel_softmax_kl(leaf, tau, seed=index)
        grads = torch.randn_like(want[0]), torch.randn_like(want[1])
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b)
        pair = [torch.autograd.grad(outputs, leaf, grads)[0] for outputs in (got, want)]
        torch.testing.assert_close(*pair)
    # The first number is a constant to Dynamo, the second makes it a variable.
    assert counter.frame_count <= 2


def test_vmap_and_per_sample_gradients(backend: str) -> None:
    logits = torch.randn(5, 3, 4)
    key = torch.tensor([9])

    def kl(logits: Tensor) -> Tensor:
        return vf.gumbel_softmax_kl(logits[None], seed=key)[1].sum()

    found = torch.func.vmap(torch.func.grad(kl))(logits)
    leaf = logits.clone().requires_grad_()
    (want,) = torch.autograd.grad(vf.gumbel_softmax_kl(leaf)[1].sum(), leaf)
    torch.testing.assert_close(found, want)


@pytest.mark.cpu_only
def test_threads_give_the_same_bits() -> None:
    before = torch.get_num_threads()
    leaf = torch.randn(37, 500, 7, requires_grad=True)
    found = []
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            y, kl = vf.gumbel_softmax_kl(leaf, 0.5, seed=1)
            (grad,) = torch.autograd.grad((y, kl), leaf, (torch.ones_like(y), torch.ones(37)))
            found.append((y, kl, grad))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert_same_bits(a, b)


def test_temperature_as_a_tensor(backend: str) -> None:
    logits = torch.randn(3, 2, 5)
    want = vf.gumbel_softmax_kl(logits, 0.5, seed=1)[0]
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        tau = torch.tensor(0.5, dtype=dtype)
        assert_same_bits(vf.gumbel_softmax_kl(logits, tau, seed=1)[0], want)


def test_categorical_kl_of_a_prior() -> None:
    logits, prior = torch.randn(4, 3, 6), torch.randn(3, 6)
    q = torch.distributions.OneHotCategorical(logits=logits.double())
    p = torch.distributions.OneHotCategorical(logits=prior.double())
    want = torch.distributions.kl_divergence(q, p)
    eps = torch.finfo(torch.float32).eps
    got = vf.categorical_kl(logits, prior, reduction="none")
    assert ((got.double() - want).abs() < 20 * ELEMENT_EPS * eps).all()
    batchmean = vf.categorical_kl(logits, prior).item()
    assert batchmean == pytest.approx(want.sum().item() / 4, rel=1e-5)
    assert (vf.categorical_kl(logits, logits, reduction="none") == 0).all()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (([1.0],), {}, TypeError, "logits: expected a torch.Tensor"),
        ((torch.zeros(3, 4, dtype=torch.int64),), {}, TypeError, "logits: got dtype torch.int64"),
        ((torch.zeros(3),), {}, ValueError, r"logits: got shape \[3\]"),
        ((torch.zeros(3, 0),), {}, ValueError, "at least one category"),
        ((torch.zeros(3, 4), 0.0), {}, ValueError, "tau: got 0.0"),
        ((torch.zeros(3, 4), math.nan), {}, ValueError, "tau: got nan"),
        ((torch.zeros(3, 4), "1"), {}, TypeError, "tau: expected a number"),
        ((torch.zeros(3, 4), torch.ones(2)), {}, ValueError, "0-dimensional"),
        ((torch.zeros(3, 4), torch.ones((), requires_grad=True)), {}, ValueError, "gradient"),
        ((torch.zeros(3, 4),), {"seed": "a"}, TypeError, "seed: expected an int"),
        ((torch.zeros(3, 4),), {"seed": 2**64}, ValueError, "seed: got"),
        (
            (torch.zeros(3, 4),),
            {"seed": 1, "generator": torch.Generator()},
            ValueError,
            "expected at most one",
        ),
    ],
)
def test_errors(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        vf.gumbel_softmax_kl(*arguments, **options)


def test_errors_of_categorical_kl() -> None:
    logits = torch.zeros(3, 2, 4)
    with pytest.raises(ValueError, match="prior_logits: got shape"):
        vf.categorical_kl(logits, torch.zeros(3))
    with pytest.raises(ValueError, match="reduction"):
        vf.categorical_kl(logits, reduction="avg")
