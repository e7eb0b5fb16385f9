"""What training does to a graph: two backwards, hooks, scaling, checkpoints, double backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.cases import BY_NAME, CALL_IDS, CALLS, CASES, Case
from support.places import Place
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import vae_fast as vf
from vae_fast.ops import likelihood

HANDED_OVER = [c for c in CASES if not c.name.startswith("kl")]


@pytest.fixture
def recomputed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one at each backward that computes gradients from the inputs."""
    calls: list[int] = []
    for name in ("_COMPILED", "_GENERAL"):
        operators = getattr(likelihood, name)

        def counted(*args: Any, operator: Any = operators.backward) -> Any:
            calls.append(1)
            return operator(*args)

        monkeypatch.setattr(likelihood, name, operators._replace(backward=counted))
    return calls


@pytest.mark.parametrize(("case", "reduction"), CALLS, ids=CALL_IDS)
def test_second_backward_with_gradient_two_is_exactly_twice_the_first(
    backend: str, case: Case, reduction: str
) -> None:
    inputs = case.make()
    leaves = [t for t in inputs.values() if t.requires_grad]
    result = case.call(inputs, reduction)
    one = torch.ones_like(result)
    first = torch.autograd.grad(result, leaves, one, retain_graph=True)
    kept = [g.clone() for g in first]
    second = torch.autograd.grad(result, leaves, 2 * one, retain_graph=True)
    third = torch.autograd.grad(result, leaves, one)
    for a, b, c, k in zip(first, second, third, kept, strict=True):
        assert torch.equal(a, k), "a later backward wrote into an earlier gradient"
        # Doubling is exact but for subnormal numbers.
        assert (b - 2 * a).abs().max() <= torch.finfo(torch.float32).tiny
        assert torch.equal(c, a)


@pytest.mark.cpu_only  # a GPU's kernel looks at the incoming gradient itself: tests/gpu
@pytest.mark.parametrize("case", HANDED_OVER, ids=[c.name for c in HANDED_OVER])
def test_gradient_is_handed_over_once(case: Case, recomputed: list[int]) -> None:
    inputs = case.make()
    leaves = [t for t in inputs.values() if t.requires_grad]
    loss = case.call(inputs, "sum")
    torch.autograd.grad(loss, leaves, retain_graph=True)
    assert not recomputed
    torch.autograd.grad(loss, leaves, retain_graph=True)
    assert len(recomputed) == 1
    torch.autograd.grad(case.call(inputs, "sum"), leaves, torch.tensor(3.0))
    assert len(recomputed) == 2
    torch.autograd.grad(case.call(inputs, "sample").sum(), leaves)
    assert len(recomputed) == 3


def test_handed_over_gradient_equals_the_recomputed_one(
    place: Place, recomputed: list[int]
) -> None:
    for case in HANDED_OVER:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            inputs = case.make(event=(1000,), dtype=dtype)
            leaves = [t for t in inputs.values() if t.requires_grad]
            loss = case.call(inputs, "batchmean")
            handed = torch.autograd.grad(loss, leaves, retain_graph=True)
            again = torch.autograd.grad(loss, leaves)
            for a, b in zip(handed, again, strict=True):
                assert torch.equal(a, b)
    if place.device == "cpu":
        assert len(recomputed) == 3 * len(HANDED_OVER)


def test_no_gradient_is_written_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    operators = likelihood._COMPILED

    def watched(*args: Any) -> Any:
        seen.append(args[-1])
        return operators.with_grad(*args)

    monkeypatch.setattr(likelihood, "_COMPILED", operators._replace(with_grad=watched))
    x, t, kl = torch.randn(3, 4, requires_grad=True), torch.rand(3, 4), torch.rand(3)
    with torch.no_grad():
        vf.elbo_loss(x, t, kl=kl)
    vf.elbo_loss(x.detach(), t, kl=kl)
    vf.elbo_loss(x, t, kl=kl)
    vf.elbo_loss(x, t, kl=kl.requires_grad_())
    assert seen == [0, 0, 1, 1 | 1 << 8]


def test_one_autograd_node() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    mu, logvar = (torch.randn(3, 2, requires_grad=True) for _ in range(2))
    loss = vf.vae_loss(x, torch.rand(3, 4), mu, logvar)
    assert loss.grad_fn is not None
    below = {type(f).__name__ for f, _ in loss.grad_fn.next_functions if f is not None}
    assert below == {"AccumulateGrad"}


def test_parts_are_detached(backend: str) -> None:
    x = torch.randn(3, 4, requires_grad=True)
    out = vf.elbo_loss(x, torch.rand(3, 4), kl=torch.rand(3, requires_grad=True), beta=0.5)
    assert out.loss.requires_grad
    assert not out.recon.requires_grad and not out.kl.requires_grad
    torch.testing.assert_close(out.loss.detach(), out.recon + 0.5 * out.kl)


@pytest.mark.parametrize("reduction", ["sample", "batchmean", "sum"])
@pytest.mark.parametrize("beta", [0.0, 2.5, "tensor"])
def test_parts_are_reduced_like_the_loss(backend: str, reduction: str, beta: float | str) -> None:
    beta = torch.tensor(0.25) if isinstance(beta, str) else beta
    x, t = torch.randn(6, 4), torch.rand(6, 4)
    mu, logvar = torch.randn(6, 2), torch.randn(6, 2)
    out = vf.elbo_loss(x, t, mu=mu, logvar=logvar, beta=beta, reduction=reduction)
    torch.testing.assert_close(out.recon, vf.bernoulli_nll(x, t, reduction=reduction))
    torch.testing.assert_close(out.kl, vf.gaussian_kl(mu, logvar, reduction=reduction))
    torch.testing.assert_close(out.loss, out.recon + beta * out.kl)
    kl = vf.gaussian_kl(mu, logvar, reduction="sample")
    torch.testing.assert_close(vf.elbo_loss(x, t, kl=kl, beta=beta, reduction=reduction), out)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("reduction", ["sample", "sum"])
def test_beta_does_not_change_the_dtype(
    backend: str, dtype: torch.dtype, learned: bool, reduction: str
) -> None:
    inputs = BY_NAME["vae"].make()
    beta = torch.tensor(0.5, dtype=dtype, requires_grad=learned)
    args = (inputs["x"], inputs["target"], inputs["mu"], inputs["logvar"])
    loss = vf.vae_loss(*args, beta=beta, reduction=reduction)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, vf.vae_loss(*args, beta=0.5, reduction=reduction))


def test_hook_may_keep_and_change_the_gradient() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    t = torch.rand(3, 4)
    kept: list[Tensor] = []
    x.register_hook(lambda g: kept.append(g) or 3 * g)  # type: ignore[func-returns-value]
    loss = vf.bernoulli_nll(x, t)
    loss.backward(retain_graph=True)
    first = kept[0].clone()
    x.grad.mul_(0)
    loss.backward()
    assert torch.equal(kept[0], first)
    assert torch.equal(kept[1], first)
    assert torch.equal(x.grad, 3 * first)


def test_only_some_inputs_need_gradients(backend: str) -> None:
    case = BY_NAME["elbo-gaussian-weight"]
    inputs = case.make()
    want = torch.autograd.grad(case.call(inputs, "sum"), [inputs[n] for n in ("x", "logvar")])
    for alone, true in zip(("x", "logvar"), want, strict=True):
        partly = {n: t.detach().requires_grad_(n == alone) for n, t in inputs.items()}
        loss = case.call(partly, "sum")
        assert torch.equal(torch.autograd.grad(loss, partly[alone])[0], true)


def test_sampling_gradient_of_one_output_alone(backend: str) -> None:
    mu, logvar = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    z, kl = vf.reparameterize_kl(mu, logvar, seed=2)
    grads = torch.autograd.grad(kl.sum(), (mu, logvar), retain_graph=True)
    torch.testing.assert_close(grads, (mu.detach(), 0.5 * torch.expm1(logvar.detach())))
    grads = torch.autograd.grad(z.sum(), (mu, logvar))
    torch.testing.assert_close(grads, (torch.ones(3, 4), (0.5 * (z - mu)).detach()))


def _step(mu: Tensor, logvar: Tensor, x: Tensor, t: Tensor) -> Tensor:
    z, kl = vf.reparameterize_kl(mu, logvar)
    return vf.elbo_loss(x * z, t, kl=kl).loss


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_draws_the_same_noise(backend: str, reentrant: bool) -> None:
    t = torch.rand(4, 6)
    leaves = [torch.randn(4, 6, requires_grad=True) for _ in range(3)]
    torch.manual_seed(5)
    want = torch.autograd.grad(_step(*leaves, t), leaves)
    torch.manual_seed(5)
    loss = checkpoint(_step, *leaves, t, use_reentrant=reentrant)
    loss.backward()
    for leaf, grad in zip(leaves, want, strict=True):
        assert torch.equal(leaf.grad, grad)


def test_gradient_penalty(backend: str) -> None:
    """A second derivative through a network, against the textbook formulas in float64."""
    weight = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    x, t = torch.randn(3, 5, dtype=torch.float64), torch.rand(3, 5, dtype=torch.float64)

    def penalty(loss: Callable[[Tensor], Tensor]) -> Tensor:
        inputs = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(loss(inputs @ weight), inputs, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), weight)[0]

    def textbook(logits: Tensor) -> Tensor:
        return (torch.log1p(torch.exp(logits)) - t * logits).sum() / 3

    torch.testing.assert_close(penalty(lambda v: vf.bernoulli_nll(v, t)), penalty(textbook))


def test_changing_an_input_before_a_recomputing_backward_is_an_error() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    y = x * 1
    loss = vf.bernoulli_nll(y, torch.rand(3, 4), reduction="sample")
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.sum().backward()


def test_autocast_reads_half_precision_without_copies(place: Place) -> None:
    layer = torch.nn.Linear(8, 12)
    data, target = torch.randn(4, 8), torch.rand(4, 12)
    with torch.autocast(place.device, torch.bfloat16):
        logits = layer(data)
        assert logits.dtype == torch.bfloat16
        loss = vf.bernoulli_nll(logits, target)
        names = _operators(lambda: vf.bernoulli_nll(logits, target))
    assert loss.dtype == torch.float32
    assert not any("to" in n or "copy" in n for n in names), names
    loss.backward()
    torch.testing.assert_close(loss, vf.bernoulli_nll(logits.float(), target))


def _operators(call: Callable[[], object]) -> list[str]:
    from torch.utils._python_dispatch import TorchDispatchMode

    names: list[str] = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    with Recorder():
        call()
    return names
