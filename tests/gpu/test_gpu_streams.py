"""The current stream and device, and what an import or a failing launch does to the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.compare import assert_same_bits
from support.places import Place
from torch import Tensor

import vae_fast as vf

LONG = 200_000_000  # cycles of the kernel that keeps a stream busy: about 0.1 s


def losses(x: Tensor, t: Tensor, mu: Tensor, logvar: Tensor) -> list[Tensor]:
    """Every operator once, forward and backward."""
    leaves = [v.detach().requires_grad_() for v in (x, mu, logvar)]
    seed = torch.ones(1, dtype=torch.int64, device=x.device)
    z, kl = vf.reparameterize_kl(*leaves[1:], seed=seed)
    out = vf.elbo_loss(leaves[0], t, kl=kl)
    loss = out.loss + z.sum() + vf.gaussian_kl(*leaves[1:])
    return [loss.detach(), out.recon, out.kl, *torch.autograd.grad(loss, leaves)]


def fresh(device: str = "cuda") -> list[Tensor]:
    values = [torch.randn(64, 784), torch.rand(64, 784), torch.randn(64, 20), torch.randn(64, 20)]
    return [v.to(device) for v in values]


def test_side_stream() -> None:
    """Inputs are written on a busy side stream; on any other, kernels would read what was there."""
    new = fresh()
    want = losses(*new)
    used = [torch.zeros_like(v) for v in new]
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(LONG)
        for value, other in zip(used, new, strict=True):
            value.copy_(other)
        got = losses(*used)
        assert not side.query(), "the side stream was not busy: the test proves nothing"
    side.synchronize()
    for a, b in zip(got, want, strict=True):
        assert_same_bits(a, b)


def test_two_streams_at_once() -> None:
    batches = [fresh() for _ in range(4)]
    want = [losses(*batch) for batch in batches]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in batches]
    got: list[list[list[Tensor]]] = [[] for _ in batches]
    for _ in range(20):
        for stream, batch, results in zip(streams, batches, got, strict=True):
            with torch.cuda.stream(stream):
                results.append(losses(*batch))
    torch.cuda.synchronize()
    for results, first in zip(got, want, strict=True):
        for result in results:
            for a, b in zip(result, first, strict=True):
                assert_same_bits(a, b)


def test_second_device() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    batch = fresh()
    want = losses(*batch)
    assert torch.cuda.current_device() == 0
    got = losses(*(t.to("cuda:1") for t in batch))
    assert torch.cuda.current_device() == 0
    for a, b in zip(got, want, strict=True):
        assert a.device == torch.device("cuda:1")
        assert_same_bits(a.cpu(), b.cpu())
    with pytest.raises(ValueError, match="cuda:1"):
        vf.bernoulli_nll(batch[0], batch[1].to("cuda:1"))


def test_tensors_of_two_devices_are_an_error() -> None:
    x, t = fresh()[:2]
    with pytest.raises(ValueError, match=r"target.*cpu.*cuda:0"):
        vf.bernoulli_nll(x, t.cpu())


def run(code: str, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


NO_CONTEXT = """
import ctypes
import torch
import vae_fast as vf
vf.bernoulli_nll(torch.randn(3, 4), torch.rand(3, 4))  # nor does work on the CPU
assert not torch.cuda.is_initialized()
driver = ctypes.CDLL("libcuda.so.1")
current = ctypes.c_void_p()
code = driver.cuCtxGetCurrent(ctypes.byref(current))
assert code == 3 or current.value is None, (code, current)  # 3: the driver was not initialised
assert driver.cuInit(0) == 0
flags, active = ctypes.c_uint(), ctypes.c_int()
assert driver.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active)) == 0
assert active.value == 0, "a CUDA context was created"
print("none")
"""


@pytest.mark.once
def test_import_creates_no_cuda_context(tmp_path: Path) -> None:
    done = run(NO_CONTEXT, tmp_path)
    assert (done.returncode, done.stdout) == (0, "none\n"), done.stderr


BROKEN_DEVICE = """
import os, sys
import torch
import vae_fast as vf
vf.set_backend(sys.argv[1])
x, t = torch.randn(64, 784, device="cuda"), torch.rand(64, 784, device="cuda")
vf.bernoulli_nll(x, t)  # memory for the results of the next call is there now
torch.cuda.synchronize()
torch._assert_async(torch.zeros((), dtype=torch.bool, device="cuda"))
try:
    torch.cuda.synchronize()
except RuntimeError:
    pass
try:
    vf.bernoulli_nll(x, t)
except RuntimeError as error:
    print("raised:", str(error).splitlines()[0])
else:
    print("silent")
sys.stdout.flush()
os._exit(0)  # this process's device is lost: no destructor could work
"""


def test_failing_launch_is_a_python_exception(place: Place, tmp_path: Path) -> None:
    done = run(BROKEN_DEVICE, tmp_path, place.backend)
    assert done.stdout.startswith("raised:"), done.stdout + done.stderr
