"""Tracers other than torch.compile, repeated imports, and tensors that are no ordinary ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
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


def test_jit_trace_takes_the_reference() -> None:
    x, other = torch.randn(3, 4), torch.randn(3, 4)
    traced = torch.jit.trace(lambda v: vf.bernoulli_nll(v, T), (x,))
    torch.testing.assert_close(traced(other), vf.bernoulli_nll(other, T))
    assert not any("vae_fast" in node.kind() for node in traced.graph.nodes())


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


def test_sparse_tensors_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"logits: .*sparse_coo"):
        vf.bernoulli_nll(T.to_sparse(), T)
    with pytest.raises(TypeError, match=r"target: .*sparse_csc"):
        vf.bernoulli_nll(T, T.to_sparse_csc())
    with pytest.raises(TypeError, match=r"target: .*sparse_csr"):
        vf.gaussian_nll(T, T.to_sparse_csr())  # for which zero is no usual value


def test_a_plain_subclass_is_a_tensor() -> None:
    class Image(Tensor):
        pass

    target = T.clone().as_subclass(Image)
    torch.testing.assert_close(float(vf.bernoulli_nll(T, target)), float(vf.bernoulli_nll(T, T)))


SHARDED = """
import os, torch, torch.distributed as dist, vae_fast as vf
dist.init_process_group("gloo", init_method=f"file://{os.environ['STORE']}", rank=0, world_size=1)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, distribute_tensor
mesh = init_device_mesh("cpu", (1,))
x = distribute_tensor(torch.zeros(2, 3), mesh, [Replicate()])
try:
    vf.bernoulli_nll(x, torch.zeros(2, 3))
except TypeError as error:
    print(error)
print(float(vf.bernoulli_nll(x.to_local(), torch.zeros(2, 3))) > 0)
dist.destroy_process_group()
"""


def test_distributed_tensors_are_refused_and_their_shards_work(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ | {"STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert "logits: got a DTensor" in lines[0] and "to_local" in lines[0], done.stderr
    assert lines[1] == "True"


class Decoder(torch.nn.Module):
    """A layer with its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 4)

    def forward(self, z: Tensor, target: Tensor) -> Tensor:
        return vf.bernoulli_nll(self.layer(z), target)


def wrapped_nll(logits: Tensor, target: Tensor) -> Tensor:
    return vf.bernoulli_nll(logits, target)


torch.fx.wrap("wrapped_nll")


class Wrapped(Decoder):
    def forward(self, z: Tensor, target: Tensor) -> Tensor:
        return wrapped_nll(self.layer(z), target)


def test_symbolic_trace_is_told_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"logits: .*symbolic_trace.*torch\.fx\.wrap"):
        torch.fx.symbolic_trace(Decoder())
    model, z = Wrapped(), torch.randn(3, 2)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(z, T), model(z, T))


def test_an_export_of_the_reference_has_pytorchs_operators_alone() -> None:
    """As ONNX wants it."""
    model, z = Decoder(), torch.randn(3, 2)
    with vf.backend("reference"):
        exported = torch.export.export(model, (z, T))
    names = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert names and all(name.startswith("aten.") for name in names)
    torch.testing.assert_close(exported.module()(z, T), model(z, T))
