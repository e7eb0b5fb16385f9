"""Tracers other than torch.compile, repeated imports, and tensors that are no ordinary ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import vae_fast as vf

T, KL = torch.rand(3, 4), torch.rand(3)


def gradient(x: Tensor, t: Tensor, kl: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    loss = vf.elbo_loss(leaf, t, kl=kl).loss
    return torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx_records_forward_and_backward(mode: str) -> None:
    x = torch.randn(3, 4)
    traced = make_fx(gradient, tracing_mode=mode)(torch.randn(3, 4), T, KL)
    torch.testing.assert_close(traced(x, T, KL), gradient(x, T, KL))


def test_compiled_autograd_in_one_graph() -> None:
    torch._dynamo.reset()
    x = torch.randn(3, 4, requires_grad=True)
    mu, logvar = (torch.randn(3, 2, requires_grad=True) for _ in range(2))

    def run() -> list[Tensor]:
        z, kl = vf.reparameterize_kl(mu, logvar, seed=1)
        loss = vf.elbo_loss(x + z.sum(), T, kl=kl).loss
        leaves = (x, mu, logvar)
        for leaf in leaves:
            leaf.grad = None
        loss.backward()
        return [leaf.grad for leaf in leaves]

    want = [g.clone() for g in run()]
    compiler: Callable[..., object] = lambda graph: torch.compile(  # noqa: E731
        graph, fullgraph=True, backend="aot_eager"
    )
    with torch._dynamo.compiled_autograd._enable(compiler):
        got = run()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


class VAE(nn.Module):
    """All that tracers meet: tuples unpacked, fields of a result, a loss that is a module."""

    def __init__(self, **noise: Any) -> None:
        super().__init__()
        self.noise = noise
        self.encoder, self.decoder = nn.Linear(4, 6), nn.Linear(3, 4)
        self.loss = vf.ELBOLoss(beta=0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, -1)
        z, kl = vf.reparameterize_kl(mu, logvar, **self.noise)
        out = self.loss(self.decoder(z), x, kl=kl)
        return out.loss + vf.vae_loss(self.decoder(mu), x, mu, logvar), out.recon


def test_symbolic_trace_records_calls() -> None:
    model = VAE(seed=1)
    traced = torch.fx.symbolic_trace(torch.fx.symbolic_trace(model))
    called = {n.target for n in traced.graph.nodes if n.op == "call_function"}
    assert {vf.reparameterize_kl, vf.elbo_loss, vf.vae_loss} <= called
    for batch in (3, 5):
        x = torch.rand(batch, 4)
        got, want = traced(x), model(x)
        torch.testing.assert_close(got, want, rtol=0, atol=0)
        leaves = list(model.parameters())
        grads = (torch.autograd.grad(y[0], leaves) for y in (got, want))
        torch.testing.assert_close(*grads, rtol=0, atol=0)


CALLS: dict[str, Callable[[Tensor], Any]] = {
    "bernoulli_nll": lambda x: vf.bernoulli_nll(x, x),
    "categorical_kl": lambda x: vf.categorical_kl(x),
    "elbo_loss": lambda x: vf.elbo_loss(x, x, mu=x, logvar=x).loss,
    "gaussian_kl": lambda x: vf.gaussian_kl(x, x),
    "gaussian_nll": lambda x: vf.gaussian_nll(x, x, x),
    "gumbel_softmax_kl": lambda x: vf.gumbel_softmax_kl(x, seed=1)[0],
    "laplace_nll": lambda x: vf.laplace_nll(x, x, x),
    "negative_binomial_mixture_nll": lambda x: vf.negative_binomial_mixture_nll(x, x, x, x, x),
    "negative_binomial_nll": lambda x: vf.negative_binomial_nll(x, x, x),
    "poisson_nll": lambda x: vf.poisson_nll(x, x),
    "reparameterize": lambda x: vf.reparameterize(x, x, seed=1),
    "reparameterize_kl": lambda x: vf.reparameterize_kl(x, x, seed=1)[1],
    "vae_loss": lambda x: vf.vae_loss(x, x, x, x),
    "zero_inflated_negative_binomial_nll": lambda x: vf.zero_inflated_negative_binomial_nll(
        x, x, x, x
    ),
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_symbolic_trace_of_every_function(name: str) -> None:
    torch.testing.assert_close(torch.fx.symbolic_trace(CALLS[name])(T), CALLS[name](T))


def test_every_function_is_traced() -> None:
    others = {"ELBO", "ELBOLoss", "__version__", "backend", "get_backend", "set_backend"}
    assert CALLS.keys() == set(vf.__all__) - others


def test_symbolic_trace_of_imported_names() -> None:
    """They are out of the tracer's reach."""
    from vae_fast import bernoulli_nll, gaussian_kl, gumbel_softmax_kl

    for call in (
        lambda x: bernoulli_nll(x, x),
        lambda x: gaussian_kl(x, x),
        lambda x: gumbel_softmax_kl(x),
    ):
        with pytest.raises(TypeError, match=r"got a Proxy of torch.fx.* call the function as"):
            torch.fx.symbolic_trace(call)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_jit_trace_takes_the_reference() -> None:
    model = VAE(seed=1)
    traced = torch.jit.trace(model, torch.rand(3, 4))
    assert not any("vae_fast" in node.kind() for node in traced.inlined_graph.nodes())
    x = torch.rand(5, 4)
    torch.testing.assert_close(traced(x), model(x))


@pytest.mark.parametrize("strict", [False, True])
def test_export_to_onnx_takes_the_reference(strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    torch._dynamo.reset()
    model, x = VAE(eps=torch.randn(3, 3)), torch.rand(3, 4)
    program = torch.export.export(model, (x,), strict=strict)
    assert not any("vae_fast" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), model(x))
    with pytest.raises(Exception, match="ONNX has no operators for this noise"):
        torch.export.export(VAE(), (x,), strict=strict)


class Sampled(nn.Module):
    def forward(self, mu: Tensor, logvar: Tensor, eps: Tensor) -> tuple[Tensor, ...]:
        z, kl = vf.reparameterize_kl(mu, logvar, eps=eps)
        return vf.elbo_loss((z, logvar), mu, kl=kl, likelihood="gaussian")


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_onnx_computes_the_loss() -> None:
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs onnxscript")
    from onnx.reference import ReferenceEvaluator

    batch = [{0: torch.export.Dim("batch")}] * 3
    inputs = tuple(torch.randn(3, 4) for _ in batch)
    program = torch.onnx.export(Sampled(), inputs, dynamo=True, dynamic_shapes=batch, verbose=False)
    assert program is not None
    others = {name: torch.randn(5, 4) for name in ("mu", "logvar", "eps")}
    feeds = {name: t.numpy() for name, t in others.items()}
    got = ReferenceEvaluator(program.model_proto).run(None, feeds)
    want = Sampled()(**others)
    torch.testing.assert_close([torch.tensor(y) for y in got], list(want))
    with pytest.raises(torch.onnx.errors.OnnxExporterError, match="ONNX has no operators"):
        torch.onnx.export(VAE(), (torch.rand(3, 4),), dynamo=True, verbose=False)


AGAIN = """
import gc, sys, torch, vae_fast as vf
for name in [n for n in sys.modules if n.startswith("vae_fast")]:
    del sys.modules[name]
del vf
gc.collect()
import vae_fast as vf
x = torch.randn(3, 4, requires_grad=True)
vf.vae_loss(x, torch.rand(3, 4), x, x).backward()
torch.compile(vf.bernoulli_nll, backend="aot_eager")(x, torch.rand(3, 4)).backward()
print(vf.get_backend())
"""


def test_the_package_can_be_imported_again() -> None:
    done = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True)
    assert done.stdout.strip() == "auto", done.stderr


ARCHIVED = """
import sys, zipfile
sys.path.insert(0, sys.argv[1])
import warnings
warnings.simplefilter("ignore")
import vae_fast as vf, torch
assert vf.__file__.startswith(sys.argv[1])
vf.bernoulli_nll(torch.zeros(2, 3), torch.zeros(2, 3))
try:
    vf.set_backend("cpu")
except RuntimeError as error:
    print(error)
"""


def test_inside_an_archive_the_reason_is_said(tmp_path: Path) -> None:
    import zipfile

    root = Path(vf.__file__).parent
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in root.rglob("*.py"):
            out.write(path, path.relative_to(root.parent))
    done = subprocess.run(
        [sys.executable, "-c", ARCHIVED, str(archive)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "inside an archive" in done.stdout, done.stderr


# Every argument that is a tensor, given one of another kind in its place.
ARGUMENTS: dict[str, Callable[[Tensor], object]] = {
    "logits": lambda t: vf.bernoulli_nll(t, T),
    "target": lambda t: vf.gaussian_nll(T, t),  # counts and bits may be torch.sparse_csr
    "weight": lambda t: vf.bernoulli_nll(T, T, weight=t),
    "mu": lambda t: vf.gaussian_kl(t, t),
    "logvar": lambda t: vf.vae_loss(T, T, T, t),
    "eps": lambda t: vf.reparameterize(T, T, eps=t),
    "prior_mu": lambda t: vf.gaussian_kl(T, T, t),
    "kl": lambda t: vf.elbo_loss(T, T, kl=t),
    "beta": lambda t: vf.vae_loss(T, T, T, T, beta=t),
    "tau": lambda t: vf.gumbel_softmax_kl(T, t),
    "seed": lambda t: vf.reparameterize(T, T, seed=t),
    "theta": lambda t: vf.negative_binomial_nll(T, T, t),
    "library": lambda t: vf.negative_binomial_nll(T, T, T, mean="softmax", library=t),
    "gate_logits": lambda t: vf.zero_inflated_negative_binomial_nll(T, T, T, t),
    "mixture_logits": lambda t: vf.negative_binomial_mixture_nll(T, T, T, T, t),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_sparse_tensors_are_refused_by_name(name: str) -> None:
    for sparse in (T.to_sparse(), T.to_sparse_csr()):
        with pytest.raises(TypeError, match=rf"^{name}: .*{sparse.layout}"):
            ARGUMENTS[name](sparse)


def test_a_plain_subclass_is_a_tensor() -> None:
    class Image(Tensor):
        pass

    target = T.clone().as_subclass(Image)
    torch.testing.assert_close(float(vf.bernoulli_nll(T, target)), float(vf.bernoulli_nll(T, T)))


@pytest.fixture
def distributed(tmp_path: Path) -> Iterator[Tensor]:
    """T as a DTensor in a world of one process."""
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this PyTorch has no gloo")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield distribute_tensor(T, init_device_mesh("cpu", (1,)), [Replicate()])
    dist.destroy_process_group()


def test_distributed_tensors_are_refused_by_name(distributed: Tensor) -> None:
    for name, call in ARGUMENTS.items():
        with pytest.raises(TypeError, match=rf"^{name}: got a DTensor, .*to_local"):
            call(distributed)
    shard = distributed.to_local()
    torch.testing.assert_close(vf.bernoulli_nll(shard, T), vf.bernoulli_nll(T, T))
