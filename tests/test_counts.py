"""Counts: sparse targets, exactness over all dispersions, expanded parameters, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import mpmath
import pytest
import torch
from support.compare import assert_matches, assert_same_bits
from torch import Tensor

import vae_fast as vf
from vae_fast.likelihoods import LIKELIHOODS
from vae_fast.ops import extension

mpmath.mp.dps = 50
# More than two pieces of the CPU's kernels; Triton's interpreter takes its time.
BATCH, GENES = 6, 300 if os.environ.get("TRITON_INTERPRET") else 2500


def counts(dtype: torch.dtype = torch.float32, batch: int = BATCH, genes: int = GENES) -> Tensor:
    """Nine of ten are zero, one row is empty."""
    dense = torch.poisson(torch.rand(batch, genes).pow(3) * 60) * (torch.rand(batch, genes) < 0.1)
    dense[1:2] = 0
    return dense.to(dtype)


def parameters(target: Tensor, draws: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """mu, theta per gene, gate."""
    shape = (draws, *target.shape) if draws else target.shape
    return [
        t.to(dtype).requires_grad_()
        for t in (
            torch.rand(shape) * 5 + 0.01,
            torch.rand(shape[-1:]) * 9 + 0.1,
            torch.randn(shape),
        )
    ]


LOSSES: dict[str, Callable[..., Tensor]] = {
    "bernoulli": lambda mu, theta, gate, t, **o: vf.bernoulli_nll(gate + 0 * mu, t, **o),
    "poisson": lambda mu, theta, gate, t, **o: vf.poisson_nll(mu.log(), t, **o),
    "poisson without constant": lambda mu, theta, gate, t, **o: vf.poisson_nll(
        mu.log(), t, full=False, **o
    ),
    "negative binomial": lambda mu, theta, gate, t, **o: vf.negative_binomial_nll(
        mu, t, theta, **o
    ),
    "without constant": lambda mu, theta, gate, t, **o: vf.negative_binomial_nll(
        mu, t, theta, full=False, **o
    ),
    "logarithms": lambda mu, theta, gate, t, **o: vf.negative_binomial_nll(
        mu.log(), t, theta.log(), log_input=True, **o
    ),
    "zero-inflated": lambda mu, theta, gate, t, **o: vf.zero_inflated_negative_binomial_nll(
        mu, t, theta, gate, **o
    ),
    "mixture": lambda mu, theta, gate, t, **o: vf.negative_binomial_mixture_nll(
        mu, t, theta, mu.flip(-1), gate, **o
    ),
}


def both(
    loss: Callable[..., Tensor], given: list[Tensor], target: Tensor, **options: object
) -> list[Tensor]:
    """The loss and its gradients."""
    result = loss(*given, target, **options)
    grads = torch.autograd.grad(result.sum(), given, allow_unused=True)
    return [result, *(g for g in grads if g is not None)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_sparse_targets_are_the_dense_ones(
    backend: str, poisoned: None, name: str, dtype: torch.dtype
) -> None:
    target = counts()
    given = parameters(target, dtype=dtype)
    for reduction in ("none", "sample", "batchmean", "sum", "mean"):
        want = both(LOSSES[name], given, target, reduction=reduction)
        got = both(LOSSES[name], given, target.to_sparse_csr(), reduction=reduction)
        for a, b in zip(got, want, strict=True):
            if name.startswith(("bernoulli", "poisson")):  # on a GPU of two implementations
                close = {"rtol": 2 * torch.finfo(a.dtype).eps, "atol": 2e-6}
                torch.testing.assert_close(a, b, **close)
            else:
                assert_same_bits(a, b)


@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.bfloat16, torch.uint8, torch.int16, torch.int32, torch.int64]
)
def test_dtypes_of_sparse_targets(backend: str, dtype: torch.dtype, index: torch.dtype) -> None:
    target = counts(dtype)
    csr = target.to_sparse_csr()
    csr = torch.sparse_csr_tensor(
        csr.crow_indices().to(index), csr.col_indices().to(index), csr.values(), csr.shape
    )
    given = parameters(target)
    for a, b in zip(both(vf_zinb, given, csr), both(vf_zinb, given, target), strict=True):
        assert_same_bits(a, b)


def vf_zinb(mu: Tensor, theta: Tensor, gate: Tensor, t: Tensor, **o: object) -> Tensor:
    return LOSSES["zero-inflated"](mu, theta, gate, t, **o)


@pytest.mark.parametrize("genes", [3, 700, 2500])
def test_sparse_targets_with_draws_weights_and_a_latent(backend: str, genes: int) -> None:
    target = counts(batch=40, genes=genes)
    given = parameters(target, draws=3)
    mu, logvar = (torch.randn(40, 4, requires_grad=True) for _ in range(2))
    for weight in (torch.rand(40, genes), torch.rand(40, genes) < 0.5, torch.rand(40, 1)):
        found = []
        for t in (target, target.to_sparse_csr()):
            loss = vf.elbo_loss(
                tuple(given), t, mu=mu, logvar=logvar, weight=weight,
                likelihood="zero_inflated_negative_binomial",
            ).loss  # fmt: skip
            found.append([loss, *torch.autograd.grad(loss, [*given, mu, logvar])])
        for a, b in zip(*found, strict=True):
            assert_same_bits(a, b)


@pytest.mark.cpu_only
def test_sparse_targets_leave_a_compiled_graph() -> None:
    target = counts(genes=40).to_sparse_csr()
    mu, theta, _ = parameters(counts(genes=40))
    kl = torch.rand(BATCH)

    def loss(mu: Tensor, theta: Tensor, t: Tensor) -> Tensor:
        elbo = vf.elbo_loss((2 * mu, theta), t, kl=kl, likelihood="negative_binomial").loss
        return elbo + vf.negative_binomial_nll(2 * mu, t, theta)

    found = []
    for function in (torch.compile(loss, backend="aot_eager"), loss):
        value = function(mu, theta, target)
        found.append([value, *torch.autograd.grad(value, (mu, theta))])
    for a, b in zip(*found, strict=True):
        assert_same_bits(a, b)


def test_zeros_may_be_listed_and_nothing_need_be(backend: str) -> None:
    target = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    given = parameters(target)
    listed = torch.sparse_csr_tensor([0, 3, 4], [0, 1, 3, 2], [0.0, 2.0, 1.0, 0.0], (2, 4))
    for a, b in zip(both(vf_zinb, given, listed), both(vf_zinb, given, target), strict=True):
        assert_same_bits(a, b)
    nothing = torch.zeros(2, 4)
    for a, b in zip(
        both(vf_zinb, given, nothing.to_sparse_csr()), both(vf_zinb, given, nothing), strict=True
    ):
        assert_same_bits(a, b)


@pytest.mark.cpu_only  # on a GPU looking would make the host wait
@pytest.mark.parametrize(
    ("starts", "columns"),
    [
        ([0, 2, 3], [2, 1, 0]),
        ([0, 2, 3], [1, 1, 0]),
        ([0, 2, 3], [1, 4, 0]),
        ([0, 2, 3], [-1, 2, 0]),
        ([0, 4, 3], [0, 1, 2]),
        ([0, 2, 2], [0, 1, 2]),
    ],
    ids=["unsorted", "twice", "too large", "negative", "descending rows", "too few"],
)
def test_wrong_sparse_targets_are_refused(
    backend: str, starts: list[int], columns: list[int]
) -> None:
    bad = torch.sparse_csr_tensor(starts, columns, [1.0, 2.0, 3.0], (2, 4), check_invariants=False)
    mu = torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"target: .*sparse"):
        vf.negative_binomial_nll(mu, bad, mu)


def test_an_expanded_dispersion_is_one_for_each_gene(backend: str) -> None:
    target = counts()
    mu, theta, _ = parameters(target)
    for draws in (0, 3):
        shape = (draws, *target.shape) if draws else target.shape
        many = mu.detach().expand(shape).clone().requires_grad_()
        want = both(lambda m, h, t: vf.negative_binomial_nll(m, t, h), [many, theta], target)
        found = vf.negative_binomial_nll(many, target, theta.expand(shape))
        assert_same_bits(found, want[0])
        grads = torch.autograd.grad(found, (many, theta))
        assert_same_bits(grads[0], want[1])
        torch.testing.assert_close(grads[1], want[2], rtol=1e-6, atol=0)


def test_a_leaf_that_is_expanded_gets_the_gradient_of_every_row(backend: str) -> None:
    target = counts()
    mu, theta, _ = parameters(target)
    leaf = theta.detach().expand_as(target).requires_grad_()
    whole = theta.detach().expand_as(target).clone().requires_grad_()
    grads = [
        torch.autograd.grad(vf.negative_binomial_nll(mu, target, t, reduction="sum"), t)[0]
        for t in (leaf, whole)
    ]
    torch.testing.assert_close(*grads)


def test_a_gate_in_half_precision_beside_a_mean_in_float32(backend: str) -> None:
    """What autocast makes of scvi-tools' decoder."""
    target = counts(genes=200)
    mu, theta, gate = parameters(target)
    half = gate.detach().bfloat16().requires_grad_()
    got = both(vf_zinb, [mu, theta, half], target)
    want = both(vf_zinb, [mu, theta, half.detach().float().requires_grad_()], target)
    assert got[3].dtype == torch.bfloat16
    for a, b in zip(got[:3], want[:3], strict=True):
        assert_same_bits(a, b)
    assert_same_bits(got[3], want[3].bfloat16())


def truth(x: float, mu: float, theta: float) -> tuple[float, float, float]:
    """-log NB and its derivatives by mu and theta."""
    t, m, h = mpmath.mpf(x), mpmath.mpf(mu), mpmath.mpf(theta)
    value = mpmath.loggamma(h) - mpmath.loggamma(t + h) + mpmath.loggamma(t + 1)
    value += h * mpmath.log1p(m / h) - (t * mpmath.log(m / (m + h)) if t else 0)
    by_theta = mpmath.digamma(h) - mpmath.digamma(t + h) + mpmath.log1p(m / h)
    by_theta += (t - m) / (h + m)
    return value, (t + h) / (h + m) - (t / m if t else 0), by_theta


def sizes(x: float, mu: float, theta: float) -> tuple[float, float]:
    """Of the terms of the derivatives, each group of one sign by itself."""
    t, m, h = mpmath.mpf(x), mpmath.mpf(mu), mpmath.mpf(theta)
    digammas = mpmath.digamma(t + h) - mpmath.digamma(h)
    near = mpmath.log1p(m / h) - m / (h + m)
    if 0 < t < 1:  # differences of Stirling's slopes at t + theta and theta
        digammas += 1 / (2 * h)
    return (t + h) / (h + m) + t / m, abs(digammas) + near + abs(t) / (h + m)


@pytest.mark.parametrize("kind", ["zeros", "counts", "fractions"])
def test_exact_at_every_dispersion(backend: str, kind: str) -> None:
    n = 300
    theta, mu = 10 ** (12 * torch.rand(n) - 6), 10 ** (14 * torch.rand(n) - 8)
    theta[:20] = 1e10  # all but a Poisson distribution
    x = 10 ** (5 * torch.rand(n))
    if kind == "zeros":
        x = torch.zeros(n)
    elif kind == "counts":
        x = x.floor()
        x[:60] = 1
    else:
        x[:60], x[60:100] = torch.rand(60), 10 ** (-6 * torch.rand(40))
    leaves = [mu.requires_grad_(), theta.requires_grad_()]
    loss = vf.negative_binomial_nll(*leaves[:1], x, leaves[1], reduction="none")
    grads = torch.autograd.grad(loss.sum(), leaves)
    numbers = list(zip(x.tolist(), mu.tolist(), theta.tolist(), strict=True))
    exact = [truth(*at) for at in numbers]
    scales = [sizes(*at) for at in numbers]
    values, by_mu, by_theta = (torch.tensor(list(map(float, c))) for c in zip(*exact, strict=True))
    of_mu, of_theta = (torch.tensor(list(map(float, c))) for c in zip(*scales, strict=True))
    allowed = 1e-6 * values.double().abs()
    allowed_theta = 1e-6 * of_theta.double()
    if backend == "reference":  # in float64, where functions of Gamma cancel
        wide = theta.detach().double()
        allowed += 1e-15 * (torch.lgamma(wide).abs() + torch.lgamma(x.double() + 1))
        allowed_theta += 1e-15 * torch.digamma(wide).abs()
    assert_matches(loss, values.double(), allowed, torch.float32)
    assert_matches(grads[0], by_mu.double(), 1e-6 * of_mu.double(), torch.float32)
    assert_matches(grads[1], by_theta.double(), allowed_theta, torch.float32)


@pytest.mark.cpu_only
@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_exact_on_every_instruction_set(isa: str) -> None:
    if not extension.cpu_isa.startswith("avx"):
        pytest.skip("these kernels have one instruction set")
    chosen = ["-k", "test_exact_at_every_dispersion and cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, *chosen],
        env=os.environ | {"VAE_FAST_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_undefined_targets_are_nan(backend: str) -> None:
    x, theta = torch.tensor([-1.0, -2.5, -0.5, -0.25]), torch.tensor([3.0, 3.0, 0.4, 0.4])
    loss = vf.negative_binomial_nll(torch.ones(4), x, theta, reduction="none")
    assert loss.isnan().tolist() == [True, True, True, False]
    want = truth(-0.25, 1.0, float(theta[3]))[0]
    torch.testing.assert_close(
        loss[3].double(), torch.tensor(float(want)).double(), rtol=0, atol=1e-6
    )


def test_logarithms_of_any_size(backend: str) -> None:
    log_mu = torch.tensor([-300.0, 300.0, -300.0, 300.0, -200.0])
    log_theta = torch.tensor([-3.0, 2.0, 200.0, 300.0, 0.0])
    x = torch.tensor([0.0, 0.0, 3.0, 7.0, 2.0])
    loss = vf.negative_binomial_nll(log_mu, x, log_theta, log_input=True, reduction="none")
    want = []
    for t, m, h in zip(x.tolist(), log_mu.tolist(), log_theta.tolist(), strict=True):
        if h > 100:  # a Poisson distribution
            rate = mpmath.e ** min(m, 69)
            want.append(rate - t * m + mpmath.loggamma(t + 1))
        else:
            want.append(truth(t, mpmath.e**m, mpmath.e**h)[0])
    finite = [0, 1, 4] if backend == "reference" else [0, 1, 2, 4]  # whose log Gamma cancel
    exact = torch.tensor([float(w) for w in want], dtype=torch.float64)
    torch.testing.assert_close(loss.double()[finite], exact[finite], rtol=3e-6, atol=1e-12)
    assert loss[finite].isfinite().all()


def test_the_registry_says_what_may_be_sparse() -> None:
    assert {row.name for row in LIKELIHOODS.values() if row.sparse} == {
        "bernoulli",
        "poisson",
        "negative_binomial",
        "zero_inflated_negative_binomial",
        "negative_binomial_mixture",
    }


MEMORY = """
import re, sys, torch, vae_fast as vf
torch.manual_seed(0)
cells, genes = 512, 8000
x = torch.poisson(torch.rand(cells, genes) * 4) * (torch.rand(cells, genes) < 0.1)
mu, gate = (torch.rand(cells, genes).requires_grad_() for _ in range(2))
theta, library = torch.rand(genes).requires_grad_(), x.sum(1)

def status(key):
    with open("/proc/self/status") as file:
        return int(re.search(rf"{key}:\\s+(\\d+) kB", file.read())[1]) / 1024

for target in (x, x.to_sparse_csr()):
    for leaves, loss in (
        ((mu, theta), lambda: vf.negative_binomial_nll(mu, target, theta)),
        ((mu, theta, gate),
         lambda: vf.zero_inflated_negative_binomial_nll(mu, target, theta, gate)),
        ((mu, theta),
         lambda: vf.negative_binomial_nll(mu, target, theta, library=library, mean="softmax")),
        ((mu,), lambda: vf.poisson_nll(mu, target, library=library, mean="softmax")),
    ):
        torch.autograd.grad(loss(), leaves)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak starts anew
        before = status("VmRSS")
        grads = torch.autograd.grad(loss(), leaves)
        print(status("VmHWM") - before, sum(g.nbytes for g in grads) / 2**20)
        del grads
"""


@pytest.mark.cpu_only
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's /proc")
def test_memory_is_that_of_the_gradients(backend: str) -> None:
    if backend != "cpu":
        pytest.skip("is promised of the compiled kernels")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY],
        # What is freed goes back at once.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    assert len(lines) == 8
    for used, gradients in lines:
        assert 0.9 * gradients < used < gradients + 4, lines
