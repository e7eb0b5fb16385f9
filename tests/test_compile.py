"""torch.compile without graph breaks, torch.export, and opcheck for every operator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.cases import CASES, Case, others
from support.places import Place
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.library import opcheck

import vae_fast as vf
from vae_fast.checks import REDUCTIONS
from vae_fast.likelihood import checked_params
from vae_fast.likelihoods import LIKELIHOODS

OPS = torch.ops.vae_fast


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


# How a parameter is shared is the same to a compiler for every likelihood: those of many parameters
# in one way.
COMPILED = [c for c in CASES if not re.search("binomial.*-(?:element|sample|one|channel)", c.name)]


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("case", COMPILED, ids=[c.name for c in COMPILED])
def test_every_call_compiles_into_one_graph(case: Case, dynamic: bool) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(case.call, fullgraph=True, dynamic=dynamic, backend=counter)
    graphs = []
    for batch in (8, 9) if dynamic else (8,):  # no other size is 8
        for reduction in case.reductions[:3]:
            inputs = case.make(batch=batch)
            leaves = [t for t in inputs.values() if t.requires_grad]
            want = case.call(inputs, reduction)
            got = compiled(inputs, reduction)
            grad = torch.randn_like(want)
            wants = torch.autograd.grad(want, leaves, grad)
            gots = torch.autograd.grad(got, leaves, grad)
            torch.testing.assert_close(got, want)
            for a, b in zip(gots, wants, strict=True):
                torch.testing.assert_close(a, b)
        graphs.append(counter.frame_count)
    assert graphs[-1] == graphs[0], "another batch size was compiled again"


def _train(mu: Tensor, logvar: Tensor, x: Tensor, t: Tensor, seed: Tensor | None) -> Tensor:
    z, kl = vf.reparameterize_kl(mu, logvar, seed=seed)
    return vf.elbo_loss(x, t, kl=kl).loss + z.square().sum()


@pytest.mark.parametrize("given", [True, False], ids=["seed", "generator"])
def test_one_graph_for_ten_seeds(given: bool) -> None:
    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(_train, fullgraph=True, backend=counter)
    leaves = [torch.randn(4, 3, requires_grad=True) for _ in range(3)]
    t = torch.rand(4, 3)
    losses = set()
    for number in range(10):
        seed = torch.tensor([number]) if given else None
        loss = compiled(*leaves, t, seed)
        losses.add(loss.item())
        got = torch.autograd.grad(loss, leaves)
        if given:
            want = torch.autograd.grad(_train(*leaves, t, seed), leaves)
            for a, b in zip(got, want, strict=True):
                torch.testing.assert_close(a, b)
    assert len(losses) == 10
    assert counter.frame_count == 1


def test_compiled_graph_holds_the_fused_operators() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    leaves = [torch.randn(4, 3) for _ in range(3)]
    torch.compile(_train, fullgraph=True, backend=keep)(*leaves, torch.rand(4, 3), None)
    targets = {str(node.target) for node in graphs[0].graph.nodes}
    assert {"vae_fast.elbo.default", "vae_fast.reparameterize_kl.default"} <= targets


def test_backend_switch_reaches_compiled_code() -> None:
    compiled = torch.compile(lambda x, t: vf.bernoulli_nll(x, t), fullgraph=True)
    x, t = torch.randn(3, 4), torch.rand(3, 4)
    want = compiled(x, t)
    with vf.backend("reference"):
        torch.testing.assert_close(compiled(x, t), want)


def test_changing_beta_compiles_at_most_twice() -> None:
    counter = CompileCounterWithBackend("aot_eager")

    def loss(x: Tensor, t: Tensor, kl: Tensor, beta: float) -> Tensor:
        return vf.elbo_loss(x, t, kl=kl, beta=beta).loss

    compiled = torch.compile(loss, fullgraph=True, backend=counter)
    x, t, kl = torch.randn(3, 4), torch.rand(3, 4), torch.rand(3)
    for beta in (0.1, 0.2, 0.3, 0.4):
        torch.testing.assert_close(compiled(x, t, kl, beta), loss(x, t, kl, beta))
    assert counter.frame_count <= 2


def test_compile_under_autocast(place: Place) -> None:
    layer = torch.nn.Linear(3, 4)
    x, t = torch.randn(5, 3), torch.rand(5, 4)

    def loss(x: Tensor) -> Tensor:
        with torch.autocast(place.device, torch.bfloat16):
            return vf.bernoulli_nll(layer(x), t)

    torch.testing.assert_close(
        torch.compile(loss, fullgraph=True)(x), loss(x), rtol=1e-2, atol=1e-2
    )


def test_export() -> None:
    class Loss(torch.nn.Module):
        def forward(self, mu: Tensor, logvar: Tensor, x: Tensor, t: Tensor) -> Tensor:
            z, kl = vf.reparameterize_kl(mu, logvar)
            return vf.elbo_loss(x + z.sum(), t, kl=kl).loss

    mu, logvar, x, t = (torch.rand(3, 2) for _ in range(4))
    program = torch.export.export(Loss(), (mu, logvar, x, t))
    names = {str(node.target) for node in program.graph.nodes}
    assert "vae_fast.elbo.default" in names
    torch.manual_seed(1)
    want = Loss()(mu, logvar, x, t)
    torch.manual_seed(1)
    torch.testing.assert_close(program.module()(mu, logvar, x, t), want)


def _samples() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape).to(dtype).requires_grad_()

    mu, logvar, seed = leaf(3, 4), leaf(3, 4), torch.tensor([5])
    for samples in (None, 2):
        shape = (3, 4) if samples is None else (samples, 3, 4)
        for eps in (None, torch.randn(shape)):
            key = seed if eps is None else None
            args: tuple[Any, ...] = (mu, logvar, key, eps, samples, True)
            yield "sample", OPS.reparameterize_kl.default, args
            raw = (mu.detach(), logvar.detach(), key, eps, samples, False)
            yield "sample-raw", OPS.reparameterize_kl_raw.default, raw
            grads = (torch.randn(shape), torch.randn(3), *raw[:4])
            yield "sample-backward", OPS.reparameterize_kl_backward.default, grads
    last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    for reduction in range(5):
        for priors in ((None, None), (leaf(3, 4), leaf(3, 4))):
            yield "kl", OPS.gaussian_kl.default, (mu, logvar, *priors, reduction)
        images = (last, last.clone(), None, None, reduction)
        yield "kl-raw", OPS.gaussian_kl_raw.default, images
        shape = {0: (2, 3, 4, 5), 1: (2,)}.get(reduction, ())
        grads = (torch.randn(shape), *images, 3)
        yield "kl-backward", OPS.gaussian_kl_backward.default, grads
    for case in CASES:
        if not case.likelihood:
            continue
        row = LIKELIHOODS[case.likelihood]
        for event in ((3, 4, 5), (6,)):
            inputs = case.make(batch=2, event=event)
            if event == (3, 4, 5) and inputs["x"].dim() == 4:
                for name in ("x", "target"):
                    value = inputs[name].detach().to(memory_format=torch.channels_last)
                    inputs[name] = value.requires_grad_(name == "x")
            x, target = inputs["x"], inputs["target"]
            names = ("weight", "kl", "mu", "logvar")
            weight, *latent = (inputs.get(n) for n in names)
            weight = None if weight is None else weight.expand(target.shape)
            params = checked_params([x, *others(inputs)], row.names, target)
            wants = (1 << len(params)) - 1
            wants += sum(1 << (8 + bit) for bit, t in enumerate(latent) if t is not None)
            tensors = (target, None, None, weight, *latent, None)
            constants = row.chosen(full=False, log_input=case.name.endswith("-logs"))
            family = "elbo" if row.compiled_for_cuda else "general_elbo"
            elbo, with_grad, backward = (
                getattr(OPS, family + suffix).default for suffix in ("", "_with_grad", "_backward")
            )
            for name in case.reductions:
                code = REDUCTIONS[name]
                options = (0.7, row.code, [0.5, *constants[1:]], code)
                yield f"elbo-{case.name}", elbo, (params, *tensors, *options)
                raw = [p.detach() for p in params]
                detached = tuple(None if t is None else t.detach() for t in tensors)
                rest = (*detached, *options)
                given = wants if name in ("batchmean", "sum", "mean") else 0
                yield "with-grad", with_grad, (raw, *rest, given)
                lead = x.dim() - target.dim() + 1
                shapes = {"none": x.shape, "sample": (2,), "draw": x.shape[:lead]}
                grads = (torch.randn(shapes.get(name, ())), raw, *rest, wants)
                yield "backward", backward, grads


TESTS = ("test_schema", "test_autograd_registration", "test_faketensor")


def test_opcheck() -> None:
    """Schemas, shape kernels and registrations of all operators; compilation of a few."""
    checked = 0
    compiled: set[str] = set()
    for name, operator, args in _samples():
        utils = TESTS if name in compiled else (*TESTS, "test_aot_dispatch_dynamic")
        compiled.add(name)
        opcheck(operator, args, test_utils=utils)
        checked += 1
    assert checked > 150
    assert {op.split("::")[1] for op in _defined()} == {
        "elbo",
        "elbo_backward",
        "elbo_regrad",  # of GPUs alone: in test_triton_interpreter
        "elbo_with_grad",
        "gaussian_kl",
        "gaussian_kl_backward",
        "gaussian_kl_raw",
        "general_elbo",
        "general_elbo_backward",
        "general_elbo_regrad",
        "general_elbo_with_grad",
        "gumbel_softmax_kl",  # these three: in test_categorical
        "gumbel_softmax_kl_backward",
        "gumbel_softmax_kl_raw",
        "reparameterize_kl",
        "reparameterize_kl_backward",
        "reparameterize_kl_raw",
    }, "an operator is missing from this test"


def _defined() -> set[str]:
    names = torch._C._dispatch_get_all_op_names()
    return {n for n in names if n.startswith("vae_fast::")}
