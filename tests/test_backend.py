"""Choosing a backend, and what happens where the compiled kernels are missing."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy
import pytest
import torch
from numpy.lib import NumpyVersion

import vae_fast as vf
from vae_fast import info
from vae_fast.ops import backend, extension
from vae_fast.triton import registration as triton

needs_triton = pytest.mark.skipif(not triton.version(), reason="needs Triton")
needs_interpreter = pytest.mark.skipif(
    triton.version().startswith("3.6.") and NumpyVersion(numpy.__version__) >= "2.4.0",
    reason="Triton 3.6's interpreter makes integers of arrays, which NumPy 2.4 ended",
)

WITHOUT_EXTENSION = """
import sys, warnings
from pathlib import Path
exists = Path.exists
Path.exists = lambda self, **k: not self.name.startswith("_C.") and exists(self, **k)
import torch
import vae_fast as vf
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    x = torch.randn(3, 4, requires_grad=True)
    for _ in range(3):
        vf.bernoulli_nll(x, torch.rand(3, 4)).backward()
    vf.reparameterize_kl(x, x)
messages = [str(w.message) for w in caught if "vae_fast" in str(w.message)]
assert len(messages) == 1, messages
assert "not installed" in messages[0] and "reference" in messages[0]
assert caught[0].filename == "<string>", caught[0].filename
try:
    vf.set_backend("cpu")
except RuntimeError as error:
    print(error)
from vae_fast.info import main
main()
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True
    )


def test_missing_extension_warns_once_and_uses_the_reference() -> None:
    done = run(WITHOUT_EXTENSION)
    assert done.returncode == 0, done.stderr
    assert "backend 'cpu' is not available: the compiled extension" in done.stdout
    assert "cpu: the compiled extension" in done.stdout
    assert ["bernoulli", "reference"] in [line.split()[:2] for line in done.stdout.splitlines()]


def test_choice_and_context_manager() -> None:
    assert vf.get_backend() == "auto"
    with vf.backend("reference"):
        assert vf.get_backend() == "reference"
        with vf.backend("auto"):
            assert vf.get_backend() == "auto"
        assert vf.get_backend() == "reference"
    assert vf.get_backend() == "auto"
    with pytest.raises(RuntimeError, match="inside"), vf.backend("reference"):
        raise RuntimeError("inside")
    assert vf.get_backend() == "auto"


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match=r"'gpu'.*auto, cpu, cuda, triton, reference"):
        vf.set_backend("gpu")
    assert vf.get_backend() == "auto"


@pytest.mark.parametrize("name", ["cpu", "reference", ""])
def test_environment_variable(name: str) -> None:
    if name == "cpu" and not extension.cpu_loaded():
        pytest.skip(extension.cpu_missing)
    done = run("import vae_fast as vf; print(vf.get_backend())", VAE_FAST_BACKEND=name)
    assert done.stdout.strip() == (name or "auto"), done.stderr


def test_bad_environment_variable() -> None:
    done = run("import vae_fast", VAE_FAST_BACKEND="gpu")
    assert done.returncode != 0
    assert "VAE_FAST_BACKEND=gpu" in done.stderr.strip().splitlines()[-1]


def test_explicit_cpu_refuses_other_devices() -> None:
    if not extension.cpu_loaded():
        pytest.skip(extension.cpu_missing)
    meta = torch.empty(3, 4, device="meta")
    with vf.backend("cpu"), pytest.raises(RuntimeError, match=r"'cpu' was chosen.*meta"):
        vf.bernoulli_nll(meta, meta)


def test_compiled_kernels_are_what_runs() -> None:
    if not extension.cpu_loaded():
        pytest.skip(extension.cpu_missing)
    with torch.profiler.profile() as profile:
        x = torch.randn(3, 4)
        vf.bernoulli_nll(x, x)
        with vf.backend("reference"):
            vf.bernoulli_nll(x, x)
    counts = {e.key: e.count for e in profile.key_averages()}
    assert counts["vae_fast::elbo_with_grad"] == 1
    assert counts["aten::binary_cross_entropy_with_logits"] == 1


WITHOUT_TRITON = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "triton" else find(name, *a)
import vae_fast as vf
assert "triton" not in sys.modules
try:
    vf.set_backend("triton")
except RuntimeError as error:
    print(error)
from vae_fast.info import main
main()
"""


def test_missing_triton_has_a_reason() -> None:
    done = run(WITHOUT_TRITON)
    assert done.returncode == 0, done.stderr
    assert "backend 'triton' is not available: Triton is not installed" in done.stdout
    assert "triton     not available: Triton is not installed" in done.stdout


def test_old_triton_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "version", lambda: "3.5.1")
    with pytest.raises(RuntimeError, match=r"'triton'.*3\.5\.1 is older than 3\.6"):
        vf.set_backend("triton")


def test_triton_without_cuda_and_interpreter_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "version", lambda: "3.9.0")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(RuntimeError, match=r"without CUDA.*TRITON_INTERPRET=1"):
        vf.set_backend("triton")
    assert vf.get_backend() == "auto"


@pytest.mark.parametrize(
    ("extension_there", "triton_there", "served"),
    [(True, True, "cuda"), (False, True, "triton"), (False, False, "reference")],
)
def test_automatic_choice_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, extension_there: bool, triton_there: bool, served: str
) -> None:
    monkeypatch.setattr(extension, "cuda_missing", "" if extension_there else "no nvcc")
    monkeypatch.setattr(triton, "missing", lambda: "" if triton_there else "no Triton")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    registered: list[tuple[list[str], list[str]]] = []
    monkeypatch.setattr(triton, "serve", lambda *devices: registered.append(devices))
    before = vf.get_backend()
    vf.set_backend("auto")
    assert backend.serving("cuda")[0] == served
    # What has no compiled CUDA kernels is Triton's, whether others have or not.
    general = "triton" if triton_there else "reference"
    assert backend.serving("cuda", general=True)[0] == general
    assert registered == [
        (["cuda"] if served == "triton" else [], ["cuda"] if triton_there else [])
    ]
    if served == "reference":
        assert backend.serving("cuda")[1] == "no nvcc; no Triton"
    monkeypatch.undo()
    vf.set_backend(before)


@needs_triton
@pytest.mark.parametrize("name", ["", pytest.param("triton", marks=needs_interpreter)])
def test_triton_is_imported_by_the_first_call_that_needs_it(name: str) -> None:
    code = (
        "import sys, torch, vae_fast as vf; x = torch.rand(2, 3)\n"
        "assert 'triton' not in sys.modules\n"
        "vf.bernoulli_nll(x, x); print(vf.get_backend(), 'triton' in sys.modules)\n"
    )
    done = run(code, VAE_FAST_BACKEND=name, TRITON_INTERPRET="1")
    assert done.stdout.split() == ["triton", "True"] if name else ["auto", "False"], done.stderr


INTERPRETED = """
import torch, vae_fast as vf
x, t = torch.randn(3, 4), torch.rand(3, 4)
compiled = torch.compile(lambda x: vf.bernoulli_nll(x, t), fullgraph=True, backend="aot_eager")

def programs(call):
    from vae_fast.triton.launch import Launch
    count, launch = [0], Launch.__call__
    def counted(*args):
        count[0] += 1
        launch(*args)
    Launch.__call__ = counted
    call(x)
    Launch.__call__ = launch
    return count[0]

vf.set_backend("triton")
print(programs(lambda x: vf.bernoulli_nll(x, t)), programs(compiled))
vf.set_backend("auto")
print(programs(lambda x: vf.bernoulli_nll(x, t)), programs(compiled))
"""


@needs_triton
@needs_interpreter
def test_compiled_code_follows_the_choice_and_other_backends_get_their_operators_back() -> None:
    done = run(INTERPRETED, TRITON_INTERPRET="1")
    assert done.stdout.split() == ["1", "1", "0", "0"], done.stderr


def test_info_names_versions_and_backends() -> None:
    text = "\n".join(info.lines())
    for part in (vf.__version__, torch.__version__, "cuda", "triton", "cpu tensors"):
        assert part in text
    if extension.cpu_loaded():
        assert extension.cpu_isa in text
