"""Triton's kernels in its interpreter: noise bits, any order of programs, the look at gradient 1.

All tests of the operators run there, too: `.ci/triton.sh`. These are about Triton's alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from support.cases import CASES, Case, others
from support.check import check_case
from support.compare import assert_same_bits
from torch import Tensor
from torch.library import opcheck

pytest.importorskip("triton", reason="needs Triton")
if not os.environ.get("TRITON_INTERPRET"):
    pytest.skip("needs TRITON_INTERPRET=1", allow_module_level=True)

import triton
import triton.language as tl
from triton.runtime import interpreter

import vae_fast as vf
from vae_fast.likelihood import checked_params
from vae_fast.likelihoods import LIKELIHOODS
from vae_fast.ops import extension
from vae_fast.reference.noise import normal
from vae_fast.triton import launch, likelihood, tiles, tune
from vae_fast.triton.latent_kernel import noise_tile


@pytest.fixture(autouse=True)
def _triton() -> Iterator[None]:
    with vf.backend("triton"):
        yield
    assert all(not counter.any() for counter in launch._counters.values())


@triton.jit
def noise_kernel(
    seed, out, first_row: tl.int64, cols: tl.int64, GROUPED: tl.constexpr, COLS: tl.constexpr
):
    """Rows of noise as the sampling kernels draw them, two a program, from a row on."""
    row = tl.program_id(0).to(tl.int64) * 2 + tl.arange(0, 2)[:, None]
    for begin in range(0, cols, COLS):
        col = begin + tl.arange(0, COLS)[None, :]
        inside = (row < 4) & (col < cols)
        tile = (first_row + row, col, row < 4, inside)
        noise = noise_tile(seed, None, begin, cols, tile, GROUPED, tl.float32)
        tl.store(out + row * cols + col, noise, mask=inside)


@pytest.mark.parametrize("first", [0, 8, 2**32 - 8, 2**34, 2**40 + 12])
@pytest.mark.parametrize("cols", [1, 2, 3, 4, 7, 20, 1001])
@pytest.mark.parametrize("tile_cols", [4, 64])
def test_noise_bits(first: int, cols: int, tile_cols: int) -> None:
    if cols == 1001 and tile_cols == 4:
        tile_cols = 512
    first_row = -(-first // cols) // 4 * 4  # a whole number of groups before it
    seed = torch.randint(-(2**63), 2**63 - 1, (1,))
    want = normal(seed, (4, cols), first=first_row * cols)
    for grouped in (True, False) if cols % 4 == 0 else (False,):
        got = torch.empty(4, cols)
        noise_kernel[(2,)](seed, got, first_row, cols, GROUPED=grouped, COLS=tile_cols)
        assert_same_bits(got, want)


@pytest.mark.parametrize("elements", [64, 512, 4096])
@pytest.mark.parametrize("shape", [(5, 20), (3, 50), (2, 7, 3), (2, 4099)], ids=str)
def test_noise_does_not_depend_on_the_tile(
    monkeypatch: pytest.MonkeyPatch, elements: int, shape: tuple[int, ...]
) -> None:
    _set_tiles(monkeypatch, elements if shape[-1] < 4000 else max(elements, 512))
    mu = torch.zeros(shape)
    z = vf.reparameterize(mu, mu, seed=6, num_samples=2)
    assert_same_bits(z.reshape(-1), normal(torch.tensor([6]), (2 * mu.numel(),)))


def _set_tiles(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    monkeypatch.setattr(tune, "_forced", tune.Config(elements, 4))


@pytest.fixture
def shuffled(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], dict[int, list[int]]]:
    """Programs of later launches run in an order drawn from a seed, or backwards for seed 0.

    Gives the orders, by the number of programs, as they come up.
    """
    builder = interpreter.interpreter_builder
    set_grid_index = builder.set_grid_idx

    def start(seed: int) -> dict[int, list[int]]:
        orders: dict[int, list[int]] = {}

        def permuted(x: int, y: int, z: int) -> None:
            count = builder.grid_dim[0]
            if count not in orders:
                orders[count] = list(range(count))[::-1]
                if seed:
                    random.Random(seed).shuffle(orders[count])
            set_grid_index(orders[count][x], y, z)

        monkeypatch.setattr(builder, "set_grid_idx", permuted)
        return orders

    return start


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_any_order_of_programs_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, shuffled: Callable[[int], dict[int, list[int]]], case: Case
) -> None:
    _set_tiles(monkeypatch, 16)
    inputs = case.make(batch=3, event=(37,), latent=18)
    leaves = [t for t in inputs.values() if t.requires_grad]

    def run() -> list[Tensor]:
        results = []
        for reduction in ("sample", "sum"):
            value = case.call(inputs, reduction)
            results += [value.detach(), *torch.autograd.grad(value.sum(), leaves)]
        return results

    want = run()
    for seed in (0, 1):
        orders = shuffled(seed)
        for got, first in zip(run(), want, strict=True):
            assert_same_bits(got, first)
        assert max(orders) > 5


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_all_backends_agree_with_the_truth(case: Case) -> None:
    """The same inputs and incoming gradients through reference, compiled and Triton kernels."""
    inputs = case.make(batch=3, event=(5, 11), latent=6)
    for reduction in case.reductions:
        grad = torch.randn_like(case.call(inputs, reduction))
        for name in ("triton", "cpu", "reference"):
            if name != "cpu" or extension.cpu_loaded():
                with vf.backend(name):
                    check_case(case, inputs, reduction, grad)


def _arguments(case: Case) -> tuple[tuple[Any, ...], list[Tensor]]:
    """Arguments of elbo_backward after the incoming gradient, and its result for gradient 1."""
    inputs = {name: t.detach() for name, t in case.make(event=(37,)).items()}
    x, target, row = inputs["x"], inputs["target"], LIKELIHOODS[case.likelihood]
    params = checked_params([x, *others(inputs)], row.names, target)
    weight = inputs.get("weight")
    latent = [inputs.get(name) for name in ("kl", "mu", "logvar")]
    wanted = [*enumerate(params), *enumerate(latent, 8)]
    bits = sum(1 << bit for bit, t in wanted if t is not None)
    tensors = (target, None, None, None if weight is None else weight.expand_as(x), *latent, None)
    args = (params, *tensors, 0.7, row.code, list(row.full_constants), 2, bits)
    return args, likelihood.elbo_backward(torch.ones(()), *args)


SCALAR = [c for c in CASES if c.likelihood and "samples" not in c.name]


@pytest.mark.parametrize("case", SCALAR, ids=[c.name for c in SCALAR])
def test_gradients_are_computed_again_unless_the_incoming_one_is_one(case: Case) -> None:
    args, want = _arguments(case)
    regrad = torch.ops.vae_fast.elbo_regrad
    kept = [torch.full_like(g, 7.0) for g in want]
    regrad(torch.ones(()), kept, *args)
    assert all((g == 7.0).all() for g in kept), "written, although the gradient is 1"
    regrad(torch.tensor(2.0), kept, *args)
    for got, one in zip(kept, want, strict=True):
        assert_same_bits(got, 2 * one)


@pytest.mark.parametrize("case", SCALAR, ids=[c.name for c in SCALAR])
def test_opcheck_of_the_operator_that_writes_gradients(case: Case) -> None:
    args, gradients = _arguments(case)
    operator = torch.ops.vae_fast.elbo_regrad.default
    utils = ("test_schema", "test_autograd_registration", "test_faketensor")
    opcheck(operator, (torch.tensor(2.0), gradients, *args), test_utils=utils)


def test_the_counter_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_counters", {})
    first = launch.counter(torch.device("cpu"))
    assert first.dtype == torch.int32 and not first.any()
    assert launch.counter(torch.device("cpu")) is first


@triton.jit
def rounding_kernel(x, y, SIZE: tl.constexpr):
    place = tl.arange(0, SIZE)
    tl.store(y + place, tiles.rounded(tl.load(x + place), y.dtype.element_ty))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_results_are_rounded_to_nearest_even(dtype: torch.dtype) -> None:
    ties = (torch.arange(-600, 600) * 2.0**-9 + 1).to(torch.float32)
    special = torch.tensor([0.0, -0.0, 1.9999999, 3.3e38, torch.inf, -torch.inf, 65519.9, 1e-41])
    x = torch.cat([special, ties, torch.randn(4096 - 1208)])
    got = torch.empty(4096, dtype=dtype)
    rounding_kernel[(1,)](x, got, SIZE=4096)
    assert_same_bits(got, x.to(dtype))


@triton.jit
def broken_kernel(x, SIZE: tl.constexpr):
    tl.store(x + tl.arange(0, SIZE), tl.no_such_function(x))


def test_a_kernel_that_does_not_compile_says_what_to_do() -> None:
    x = torch.zeros(4)
    with pytest.raises(RuntimeError, match=r"broken_kernel.*VAE_FAST_BACKEND"):
        launch.Launch(broken_kernel, 1, x.device, 4, SIZE=4)([x])


def test_shares_are_not_gone_on_with() -> None:
    """What the CPU's kernels began with sizes of its own."""
    logits, target = torch.randn(3, 4, requires_grad=True), torch.ones(3, 4)
    with vf.backend("cpu"):
        loss = vf.poisson_nll(logits, target, library=torch.ones(3), mean="softmax")
    with pytest.raises(RuntimeError, match="choose the backend before the forward"):
        (2 * loss).backward()
