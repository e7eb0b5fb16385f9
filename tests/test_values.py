"""Values and gradients of every call against float64, over dtypes, sizes and memory layouts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.cases import BY_NAME, CALL_IDS, CALLS, CASES, Case, Inputs
from support.check import check_case
from torch import Tensor

import vae_fast as vf

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
TARGETS = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.uint8, torch.bool]


@pytest.mark.parametrize(("case", "reduction"), CALLS, ids=CALL_IDS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_dtypes(
    backend: str, poisoned: None, case: Case, reduction: str, dtype: torch.dtype
) -> None:
    check_case(case, case.make(dtype=dtype), reduction)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", ["bernoulli", "gaussian-element", "gaussian-one"])
def test_targets(
    backend: str, poisoned: None, name: str, dtype: torch.dtype, target: torch.dtype
) -> None:
    case = BY_NAME[name]
    check_case(case, case.make(event=(2, 45), dtype=dtype, target=target), "batchmean")


COUNTS = [torch.int16, torch.int32, torch.int64, *TARGETS]


@pytest.mark.parametrize("target", COUNTS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_counts(backend: str, poisoned: None, dtype: torch.dtype, target: torch.dtype) -> None:
    case = BY_NAME["poisson"]
    check_case(case, case.make(event=(2, 45), dtype=dtype, target=target), "batchmean")


# Around vector widths (4 to 64), the piece of 1024 and the unit of 16384 elements.
LENGTHS = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 511, 513]
LENGTHS += [1023, 1024, 1025, 2047, 2049, 16383, 16384, 16385, 33000]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", ["bernoulli", "gaussian-one", "kl-prior"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_lengths(poisoned: None, name: str, length: int, dtype: torch.dtype) -> None:
    case = BY_NAME[name]
    inputs = case.make(batch=3, event=(length,), latent=length, dtype=dtype)
    check_case(case, inputs, "sample")
    check_case(case, inputs, "none")


@pytest.mark.parametrize("rows", [1, 2, 51, 52, 1023, 1025])
@pytest.mark.parametrize("name", ["bernoulli", "bernoulli-samples-mask", "kl", "vae"])
def test_many_short_rows(poisoned: None, name: str, rows: int) -> None:
    case = BY_NAME[name]
    check_case(case, case.make(batch=rows, event=(20,), latent=3), "sample")


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
@pytest.mark.parametrize(
    ("batch", "event", "latent"), [(0, (3,), 2), (4, (0,), 0), (0, (0,), 0), (1, (1,), 1)]
)
def test_empty(backend: str, case: Case, batch: int, event: tuple[int, ...], latent: int) -> None:
    for reduction in case.reductions:
        inputs = case.make(batch, event, latent)
        result = case.call(inputs, reduction)
        leaves = [t for t in inputs.values() if t.requires_grad]
        grads = torch.autograd.grad(result, leaves, torch.ones_like(result), allow_unused=True)
        assert [None if g is None else g.shape for g in grads] == [t.shape for t in leaves]
        if reduction == "sum" and batch == 0:
            assert result.item() == 0.0
        if reduction == "batchmean" and batch == 0:
            assert result.isnan().item()  # 0 / 0, like every mean of PyTorch


def test_one_dimensional_inputs(backend: str) -> None:
    for name in ("bernoulli", "kl", "gaussian-element"):
        case = BY_NAME[name]
        inputs = case.make(event=())
        if name == "kl":
            inputs = {k: v[:, 0].detach().requires_grad_() for k, v in inputs.items()}
        check_case(case, inputs, "sample")


def _transposed(t: Tensor) -> Tensor:
    return t.transpose(-1, -2).contiguous().transpose(-1, -2) if t.dim() > 1 else t


def _sliced(t: Tensor) -> Tensor:
    if t.dim() == 0:
        return t
    padded = torch.zeros(*t.shape[:-1], t.shape[-1] + 3, dtype=t.dtype)
    padded[..., 2:-1] = t
    return padded[..., 2:-1]


def _strided(t: Tensor) -> Tensor:
    return t.repeat_interleave(2, -1)[..., ::2] if t.dim() else t


def _batch_last(t: Tensor) -> Tensor:
    return t.movedim(0, -1).contiguous().movedim(-1, 0) if t.dim() > 1 else t


def _channels_last(t: Tensor) -> Tensor:
    return t.to(memory_format=torch.channels_last) if t.dim() == 4 else t


def _offset(t: Tensor) -> Tensor:
    flat = torch.zeros(t.numel() + 1, dtype=t.dtype)
    flat[1:] = t.reshape(-1)
    return flat[1:].view(t.shape)


LAYOUTS = [_transposed, _sliced, _strided, _batch_last, _channels_last, _offset]


def _relaid(inputs: Inputs, change: Callable[[Tensor], Tensor], only: str = "") -> Inputs:
    return {
        name: change(t.detach()).requires_grad_(t.requires_grad) if only in ("", name) else t
        for name, t in inputs.items()
    }


@pytest.mark.parametrize("change", LAYOUTS, ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize(("case", "reduction"), CALLS, ids=CALL_IDS)
def test_layouts(
    poisoned: None, case: Case, reduction: str, change: Callable[[Tensor], Tensor]
) -> None:
    inputs = case.make(batch=3, event=(2, 5, 3), latent=6)
    check_case(case, _relaid(inputs, change), reduction)
    for name in ("x", "target", "mu"):  # one operand unlike the others
        if name in inputs:
            check_case(case, _relaid(inputs, change, only=name), reduction)


@pytest.mark.parametrize("reduction", ["none", "sample", "sum"])
def test_expanded_inputs(poisoned: None, reduction: str) -> None:
    case = BY_NAME["bernoulli"]
    inputs = case.make(batch=1, event=(40,))
    inputs["target"] = torch.rand(40).expand(4, 40)
    inputs["x"] = torch.randn(1, 40).expand(4, 40).detach().requires_grad_()
    check_case(case, inputs, reduction)


def test_channels_last_stays_channels_last() -> None:
    case = BY_NAME["bernoulli"]
    inputs = _relaid(case.make(batch=2, event=(3, 4, 5)), _channels_last)
    loss = case.call(inputs, "batchmean")
    (grad,) = torch.autograd.grad(loss, inputs["x"])
    assert grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(4, 30), (4, 1), (30,), ()])
def test_weights_broadcast(backend: str, shape: tuple[int, ...]) -> None:
    case = BY_NAME["bernoulli-weight"]
    inputs = case.make(batch=4, event=(30,))
    inputs["weight"] = torch.rand(shape)
    for reduction in case.reductions:
        check_case(case, inputs, reduction)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["bernoulli", "gaussian-element", "laplace-column", "poisson"])
def test_nothing_of_what_is_masked_is_seen(backend: str, name: str, value: float) -> None:
    case = BY_NAME[name]
    clean = case.make(batch=4, event=(30,))
    clean["weight"] = torch.rand(4, 30) < 0.5
    spoilt = {n: t.detach().clone().requires_grad_(t.requires_grad) for n, t in clean.items()}
    masked = ~clean["weight"]
    with torch.no_grad():
        spoilt["x"][..., masked] = value
        spoilt["target"][masked] = value
        if spoilt.get("second", masked[0]).shape == (4, 30):
            spoilt["second"][masked] = value
    for reduction in case.reductions:
        results = []
        for inputs in (clean, spoilt):
            loss = case.call(inputs, reduction)
            leaves = [t for t in inputs.values() if t.requires_grad]
            results.append([loss, *torch.autograd.grad(loss.sum(), leaves)])
        for got, want in zip(results[1], results[0], strict=True):
            assert torch.equal(got, want)
        assert (results[1][1][..., masked] == 0).all()
        if reduction == "none":
            assert (results[1][0][..., masked] == 0).all()


def test_a_masked_mean_is_that_of_the_rest(backend: str) -> None:
    x, target, mask = torch.randn(4, 30), torch.rand(4, 30), torch.rand(4, 30) < 0.5
    want = vf.bernoulli_nll(x[mask], target[mask], reduction="mean")
    torch.testing.assert_close(vf.bernoulli_nll(x, target, weight=mask, reduction="mean"), want)


@pytest.mark.parametrize("strides", ["stride 0", "cat", "transposed"])
@pytest.mark.parametrize(
    "name", ["bernoulli", "gaussian-element", "kl-prior", "bernoulli-samples-mask"]
)
def test_incoming_gradients_of_any_stride(poisoned: None, name: str, strides: str) -> None:
    case = BY_NAME[name]
    inputs = case.make(batch=4, event=(6, 5), latent=30)
    for reduction in ("none", "sample"):
        like = case.call(inputs, reduction)
        if strides == "stride 0":
            grad = torch.randn(()).expand_as(like)
        elif strides == "cat":
            grad = torch.cat([torch.randn_like(like), torch.randn_like(like)], -1)
            grad = grad[..., : like.shape[-1]]
        else:
            grad = _batch_last(torch.randn_like(like))
        check_case(case, inputs, reduction, grad)


def test_results_are_fresh_memory() -> None:
    kl = torch.rand(3)
    case = BY_NAME["elbo-kl"]
    inputs = case.make(batch=3)
    inputs["kl"] = kl
    result = case.call(inputs, "sample")
    assert result.data_ptr() != kl.data_ptr()


@pytest.mark.slow
def test_more_than_two_to_the_31_elements() -> None:
    # Stride 0 keeps the memory small; the row number times the row length needs 64 bits.
    rows, cols = 2**11 + 1, 2**20
    row = torch.randn(cols, dtype=torch.bfloat16)
    target = (torch.rand(cols) < 0.5).expand(rows, cols)
    with torch.no_grad():
        loss = vf.gaussian_nll(row.expand(rows, cols), target, full=False, reduction="sample")
    one = 0.5 * (row.double() - target[0].double()).square().sum()
    torch.testing.assert_close(loss.double(), one.expand(rows), rtol=1e-6, atol=0)
