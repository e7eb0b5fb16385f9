"""Triton kernels compiled ahead of time: registers, spills, 16-byte accesses, atomics, fusion."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="needs Triton")
if os.environ.get("TRITON_INTERPRET"):
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

import triton
import triton.language as tl
from support.kernels import Launch, compiled, launches_of, specialisation

from vae_fast.likelihoods import LIKELIHOODS
from vae_fast.triton import categorical, count_functors, gumbel, latent, likelihood, normal
from vae_fast.triton.likelihood_kernel import elbo_kernel

ARCHITECTURES = [80, 90, 100]
REGISTERS = 128  # four warps of so many leave room for four programs on a multiprocessor
# Two negative binomials at once: for three.
MOST_REGISTERS = {"mixture": 168}
BATCH, EVENT, LATENT = 4096, (784,), 20


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def elbo_arguments(
    dtype: torch.dtype = torch.float32,
    target: torch.dtype | None = None,
    batch: int = BATCH,
    cols: int = EVENT[0],
    samples: int = 0,
    others: tuple[str, ...] = (),
    sparse: bool = False,
    weight: torch.dtype | None = None,
    kl: str = "",
    name: str = "bernoulli",
    reduction: int = 2,
) -> tuple[Any, ...]:
    shape = (batch, cols)
    x = meta(*((samples,) if samples else ()), *shape, dtype=dtype)
    shapes = {"one": (), "element": x.shape, "column": (cols,), "sample": (batch, 1)}
    params = [x, *(meta(*shapes[binding], dtype=dtype) for binding in others)]
    mu, given = meta(batch, LATENT, dtype=dtype), meta(batch)
    row = LIKELIHOODS[name]
    return (
        params,
        meta(*((1000,) if sparse else shape), dtype=target or dtype),
        meta(batch + 1, dtype=torch.int64) if sparse else None,
        meta(1000, dtype=torch.int64) if sparse else None,
        None if weight is None else meta(*shape, dtype=weight),
        given if kl == "given" else None,
        mu if kl == "latent" else None,
        mu if kl == "latent" else None,
        None,
        0.5,
        row.code,
        list(row.full_constants),
        reduction,
    )


def wants(args: tuple[Any, ...]) -> int:
    wanted = [*enumerate(args[0]), *enumerate(args[5:8], 8)]
    return sum(1 << bit for bit, t in wanted if t is not None)


VARIANTS: dict[str, dict[str, Any]] = {
    "bernoulli": {},
    "bernoulli-bytes": {"target": torch.uint8},
    "bernoulli-bits": {"target": torch.bool},
    "bernoulli-weight": {"weight": torch.float32},
    "bernoulli-mask": {"weight": torch.bool},
    "bernoulli-samples": {"samples": 3},
    "bernoulli-draws": {"samples": 3, "reduction": 5},
    "bernoulli-odd": {"cols": 785, "batch": 4097},
    "bernoulli-rows": {"reduction": 1},
    "bernoulli-elements": {"reduction": 0},
    "bernoulli-long-rows": {"reduction": 1, "batch": 8, "cols": 1 << 20},
    "gaussian": {"name": "gaussian"},
    "gaussian-one": {"name": "gaussian", "others": ("one",)},
    "gaussian-element": {"name": "gaussian", "others": ("element",)},
    "gaussian-column": {"name": "gaussian", "others": ("column",)},
    "gaussian-sample": {"name": "gaussian", "others": ("sample",), "weight": torch.bool},
    "laplace": {"name": "laplace"},
    "laplace-element": {"name": "laplace", "others": ("element",)},
    "poisson": {"name": "poisson", "target": torch.int32},
    "negative_binomial": {"name": "negative_binomial", "others": ("column",)},
    "negative_binomial-sparse": {
        "name": "negative_binomial",
        "others": ("column",),
        "sparse": True,
    },
    "zero_inflated": {"name": "zero_inflated_negative_binomial", "others": ("one", "element")},
    "mixture": {
        "name": "negative_binomial_mixture",
        "others": ("column", "element", "element", "sample"),
    },
    "elbo-given": {"kl": "given"},
    "elbo-latent": {"kl": "latent"},
    "elbo-latent-rows": {"kl": "latent", "reduction": 1},
    "elbo-gaussian": {
        "name": "gaussian",
        "others": ("element",),
        "kl": "latent",
        "weight": torch.float32,
    },
}


def likelihood_launches(
    monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype
) -> list[Launch]:
    """Loss with gradients where it has some, and the backward, for scalars with its look at 1."""
    args = elbo_arguments(dtype, **VARIANTS[name])
    summed = args[-1] in (2, 3, 4)
    x, batch = args[0][0], (BATCH if args[2] is not None else args[1].shape[0],)
    loss = meta(*{0: x.shape, 1: batch, 5: (*x.shape[:1], *batch)}.get(args[-1], ()))

    def calls() -> None:
        likelihood.elbo_with_grad(*args, wants(args) if summed else 0)
        if summed:
            grads = [torch.empty_like(t) for t in (*args[0], *args[5:8]) if t is not None]
            likelihood.elbo_regrad(loss, grads, *args, wants(args))
        else:
            likelihood.elbo_backward(loss, *args, wants(args))

    return launches_of(calls, monkeypatch)


def latent_launches(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> list[Launch]:
    seed = meta(1, dtype=torch.int64)

    def calls() -> None:
        for shape in ((BATCH, 20), (BATCH, 10), (16, 16384)):
            mu = meta(*shape, dtype=dtype)
            latent.reparameterize_kl(mu, mu, seed, None, None, True)
            latent.reparameterize_kl_backward(mu, meta(shape[0]), mu, mu, seed, None)
        mu = meta(BATCH, 20, dtype=dtype)
        latent.reparameterize_kl(mu, mu, None, mu, None, False)
        for reduction in (0, 1, 2):
            latent.gaussian_kl(mu, mu, mu, mu, reduction)
        latent.gaussian_kl(mu, mu, None, None, 2)
        latent.gaussian_kl_backward(meta(), mu, mu, None, None, 2, 3)
        latent.gaussian_kl_backward(meta(BATCH), mu, mu, mu, mu, 1, 15)

    return launches_of(calls, monkeypatch)


def categorical_launches(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> list[Launch]:
    seed = meta(1, dtype=torch.int64)

    def calls() -> None:
        for shape in ((BATCH, 30, 10), (BATCH, 32, 32), (16, 1024), (2, 8192)):
            x = meta(*shape, dtype=dtype)
            categorical.gumbel_softmax_kl(x, seed, None, 0.5, False)
            categorical.gumbel_softmax_kl_backward(x, meta(shape[0]), x, seed, None, 0.5)
        x = meta(BATCH, 30, 10, dtype=dtype)
        categorical.gumbel_softmax_kl(x, seed, meta(), 0.5, True)
        categorical.gumbel_softmax_kl_backward(None, meta(BATCH), x, seed, meta(), 0.5)

    return launches_of(calls, monkeypatch)


@pytest.mark.parametrize("name", VARIANTS)
def test_one_launch_each(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Loss, parts and gradients are one launch, and so is each backward; the gradient of each
    parameter that elements share has another."""
    launches = likelihood_launches(monkeypatch, name, torch.float32)
    shared = sum(binding != "element" for binding in VARIANTS[name].get("others", ()))
    assert len(launches) == 2 + 2 * shared


ATOMIC = re.compile(r"\b(?:atom|red)\.[\w.]+")
COUNTER = "atom.global.gpu.acq_rel.add.u32"
WIDE_LOAD = r"ld\.global[.\w]*\.(?:v4\.b32|v2\.b64)"
WIDE_STORE = r"st\.global[.\w]*\.(?:v4\.b32|v2\.b64)"


LONG = (
    count_functors.negative_binomial,
    count_functors.zero_inflated,
    count_functors.negative_binomial_mixture,
)


def check(launch: Launch, architecture: int, most: int = REGISTERS) -> None:
    kernel = compiled(launch, architecture)
    what = f"sm_{architecture} {specialisation(launch)}"
    # float64 serves gradient checks: a few words on the stack do not matter there.
    double = any(isinstance(a, Tensor) and a.dtype == torch.float64 for a in launch.args[:9])
    # Before and behind the loops of its longest kernels ptxas keeps a few words, by itself.
    spare = double or launch.constants.get("LIKELIHOOD") in LONG
    assert kernel.spilled <= (32 if spare else 0), f"{what} spills {kernel.spilled} bytes"
    assert kernel.registers <= most, f"{what} takes {kernel.registers} registers"
    atomics = set(ATOMIC.findall(kernel.ptx))
    assert atomics <= {COUNTER}, f"{what}: {atomics}"


# Every variant in float32 for one architecture; for the others, and in other dtypes, the one whose
# kernel holds everything. VAE_FAST_TEST_TARGETS=all: every variant and dtype for all of them.
EVERYTHING = "elbo-gaussian"
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
TARGETS = [(torch.float32, 90, name) for name in VARIANTS]
TARGETS += [(torch.float32, sm, EVERYTHING) for sm in (80, 100)]
TARGETS += [(dtype, 90, EVERYTHING) for dtype in DTYPES[1:]]
LATENT_TARGETS = [(torch.float32, 90)]
if os.environ.get("VAE_FAST_TEST_TARGETS") == "all":
    TARGETS = [(d, sm, name) for d in DTYPES for sm in ARCHITECTURES for name in VARIANTS]
    LATENT_TARGETS = [(d, sm) for d in DTYPES for sm in ARCHITECTURES]


@pytest.mark.parametrize(("dtype", "architecture", "name"), TARGETS, ids=str)
def test_likelihood(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, architecture: int, name: str
) -> None:
    for launch in likelihood_launches(monkeypatch, name, dtype):
        check(launch, architecture, MOST_REGISTERS.get(name, REGISTERS))


@pytest.mark.parametrize(("dtype", "architecture"), LATENT_TARGETS, ids=str)
def test_latent(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, architecture: int) -> None:
    for launch in latent_launches(monkeypatch, dtype):
        check(launch, architecture)


@pytest.mark.parametrize(("dtype", "architecture"), LATENT_TARGETS, ids=str)
def test_categorical(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, architecture: int
) -> None:
    for launch in categorical_launches(monkeypatch, dtype):
        check(launch, architecture)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["bernoulli", "gaussian-element", "bernoulli-odd"])
def test_main_loops_move_16_bytes(
    monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype
) -> None:
    launches = likelihood_launches(monkeypatch, name, dtype)
    kernel = compiled(launches[0], 90)
    operands = 3 if name == "gaussian-element" else 2
    # A loop without masks and one with: where the length is odd, only the first is wide.
    loops = 1 if name == "bernoulli-odd" else 2
    assert kernel.count(WIDE_LOAD) >= loops * operands
    assert kernel.count(WIDE_STORE) >= loops * (operands - 1)


# What float64 is for in other dtypes: partial sums, their quotient and product with beta, and the
# conversion of beta. No fused step, nothing of a formula.
SUMMING = {"cvt", "add", "selp", "div", "mul"}
MOVING = {"ld", "st", "mov"}
FLOAT32_ARITHMETIC = re.compile(r"\b(?:add|sub|mul|fma)\.(?:rn\.)?f32\b")


def loops(ptx: str) -> list[str]:
    """The instructions from each label to a jump back to it, of innermost loops."""
    lines, labels, found = ptx.splitlines(), {}, []
    for number, line in enumerate(lines):
        if label := re.match(r"\s*(\$\w+):", line):
            labels[label[1]] = number
        jump = re.search(r"\bbra(?:\.uni)?\s+(\$\w+)", line)
        if jump and jump[1] in labels:
            found.append((labels[jump[1]], number))
    inner = [(a, b) for a, b in found if not any(a < c and d < b for c, d in found)]
    return ["\n".join(lines[a:b]) for a, b in inner]


def check_float64(launch: Launch) -> int:
    """Checks what a kernel does in float64; returns its loops over elements."""
    ptx = compiled(launch, 90).ptx
    main = [body for body in loops(ptx) if FLOAT32_ARITHMETIC.search(body)]
    assert not any("f64" in body for body in main), specialisation(launch)
    double = re.findall(r"\b[a-z]\w*(?:\.\w+)*\.f64(?:\.\w+)*", ptx)
    kinds = {name.split(".")[0] for name in double}
    assert kinds <= SUMMING | MOVING, f"{specialisation(launch)}: {sorted(set(double))}"
    partials = [a for a in launch.args if isinstance(a, Tensor) and a.dtype == torch.float64]
    if launch.kernel is elbo_kernel and not partials:
        assert double in ([], ["cvt.rn.f32.f64"]), f"{specialisation(launch)} sums nothing"
    return len(main)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["bernoulli", "gaussian-one", EVERYTHING])
def test_likelihoods_sum_in_float64_after_the_loop_and_do_nothing_else_in_it(
    monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype
) -> None:
    for launch in likelihood_launches(monkeypatch, name, dtype):
        # With and without masks; two tiles need no loop.
        several = launch.kernel is elbo_kernel and launch.constants["TILES"] > 2
        assert check_float64(launch) >= (2 if several else 0)


def test_latent_kernels_sum_in_float64_and_do_nothing_else_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for launch in latent_launches(monkeypatch, torch.float32):
        check_float64(launch)


@pytest.mark.parametrize("shape", [(BATCH, 20), (16, 16384)], ids=str)
def test_sampling_moves_16_bytes(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    mu, seed = meta(*shape), meta(1, dtype=torch.int64)
    (forward,) = launches_of(
        lambda: latent.reparameterize_kl(mu, mu, seed, None, None, True), monkeypatch
    )
    (backward,) = launches_of(
        lambda: latent.reparameterize_kl_backward(mu, meta(shape[0]), mu, mu, seed, None),
        monkeypatch,
    )
    forward, backward = (compiled(launch, 90) for launch in (forward, backward))
    assert forward.count(WIDE_LOAD) >= 2
    assert forward.count(WIDE_STORE) >= 1
    assert backward.count(WIDE_LOAD) >= 3
    assert backward.count(WIDE_STORE) >= 2


@triton.jit
def noise_kernel(seed, out, GROUPED: tl.constexpr, SIZE: tl.constexpr):
    if GROUPED:
        group = tl.arange(0, SIZE // 4)[None, :].to(tl.int64)
        noise = normal.normal_groups(tl.load(seed), group)
    else:
        noise = normal.normal_elements(tl.load(seed), tl.arange(0, SIZE)[None, :].to(tl.int64))
    tl.store(out + tl.arange(0, SIZE)[None, :], noise)


@triton.jit
def gumbel_noise_kernel(seed, out, GROUPED: tl.constexpr, SIZE: tl.constexpr):
    if GROUPED:
        group = tl.arange(0, SIZE // 4)[None, None, :].to(tl.int64)
        noise = gumbel.gumbel_groups(tl.load(seed), group)
    else:
        element = tl.arange(0, SIZE)[None, None, :].to(tl.int64)
        noise = gumbel.gumbel_elements(tl.load(seed), element)
    tl.store(out + tl.arange(0, SIZE)[None, None, :], noise)


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_noise_is_not_fused(grouped: bool, architecture: int) -> None:
    args = (meta(1, dtype=torch.int64), meta(1024))
    kernel = compiled(
        Launch(noise_kernel, 1, 4, args, {"GROUPED": grouped, "SIZE": 1024}), architecture
    )
    assert kernel.count(r"\bfma\b") == 0
    assert kernel.count(r"sqrt\.rn\.f32") > 0
    assert kernel.count(r"(?:mul|add)\.rn?\.?f32") + kernel.count(r"(?:mul|add)\.f32") > 0
    # One square root, correctly rounded, is a sequence with fused steps of its own; no more than
    # that in the machine code.
    assert "shared" not in kernel.ptx or not grouped, "groups are interleaved in registers"


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gumbel_noise_is_not_fused(grouped: bool, architecture: int) -> None:
    args = (meta(1, dtype=torch.int64), meta(1024))
    constants = {"GROUPED": grouped, "SIZE": 1024}
    kernel = compiled(Launch(gumbel_noise_kernel, 1, 4, args, constants), architecture)
    assert kernel.count(r"\bfma\b") == 0
    assert kernel.count(r"(?:mul|add)\.rn?\.?f32") + kernel.count(r"(?:mul|add)\.f32") > 0
    assert "shared" not in kernel.ptx or not grouped, "groups are interleaved in registers"


def test_sampling_fuses_only_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    mu, seed = meta(BATCH, 20), meta(1, dtype=torch.int64)
    drawn, given = (
        compiled(launches_of(call, monkeypatch)[0], 90)
        for call in (
            lambda: latent.reparameterize_kl(mu, mu, seed, None, None, True),
            lambda: latent.reparameterize_kl(mu, mu, None, mu, None, True),
        )
    )
    assert drawn.count(r"\bfma\b") == given.count(r"\bfma\b") > 0
