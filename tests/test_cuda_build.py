"""Gates on the compiled CUDA kernels that need no GPU: resources, machine code, symbols.

They read the extension that is installed; VAE_FAST_CUDA=1 makes a missing one a failure.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from vae_fast.ops import extension

setup_cuda = pytest.importorskip("setup_cuda", reason="only in the source tree")

OPERATORS = (
    *("reparameterize_kl", "reparameterize_kl_raw", "reparameterize_kl_backward"),
    *("gaussian_kl", "gaussian_kl_raw", "gaussian_kl_backward"),
    *("gumbel_softmax_kl", "gumbel_softmax_kl_raw", "gumbel_softmax_kl_backward"),
    *("elbo", "elbo_with_grad", "elbo_backward", "elbo_regrad"),
)
REGISTERS = 65536  # of a processor
# Threads that a processor holds, where not 2048.
MOST_THREADS = {"sm_120": 1536}
BLOCK = 256
MOST_KERNELS = 60  # of an architecture


@functools.cache
def library() -> Path:
    spec = importlib.util.find_spec("vae_fast._CUDA")
    if spec is None or spec.origin is None:
        if os.environ.get("VAE_FAST_CUDA") == "1":
            pytest.fail("VAE_FAST_CUDA=1, and vae_fast._CUDA is not installed")
        pytest.skip("no CUDA kernels were built")
    return Path(spec.origin)


@functools.cache
def cuobjdump(*arguments: str) -> str:
    """What the toolkit's, or Triton's, disassembler says of the library."""
    program = shutil.which("cuobjdump")
    triton = importlib.util.find_spec("triton")
    if program is None and triton is not None and triton.origin is not None:
        bundled = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        program = str(bundled) if bundled.exists() else None
    path = library()
    if program is None:
        pytest.skip("no cuobjdump, neither on the PATH nor in Triton")
    done = subprocess.run([program, *arguments, path], capture_output=True, text=True, check=True)
    return done.stdout


@functools.cache
def kernels() -> list[tuple[str, str, dict[str, int]]]:
    """(architecture, name, resources) of every compiled kernel."""
    found = []
    architecture = name = ""
    for line in cuobjdump("-res-usage").splitlines():
        if match := re.search(r"arch = (sm_\w+)", line):
            architecture = match[1]
        elif match := re.search(r"Function (\w+):", line):
            name = match[1]
        elif name and "REG:" in line:
            resources = {key: int(value) for key, value in re.findall(r"([A-Z]+):(\d+)", line)}
            found.append((architecture, name, resources))
            name = ""
    # Device functions that are called have an entry of their own, without constants.
    return [
        kernel
        for kernel in found
        if re.search(r"elbo_|kl_|sample_|categorical_|shared_gradient_", kernel[1])
    ]


def wanted_architectures() -> set[str]:
    return {re.sub(r".*code=", "", flag) for flag in setup_cuda.architecture_flags((13, 0))}


def test_every_architecture_has_every_kernel() -> None:
    names: dict[str, set[str]] = {}
    for architecture, name, _ in kernels():
        names.setdefault(architecture, set()).add(name)
    assert set(names) == {a for a in wanted_architectures() if a.startswith("sm_")}
    assert len({frozenset(group) for group in names.values()}) == 1
    # 4 likelihoods in 2 passes for 3 dtypes in packets; element by element 2 arithmetics.
    elbo = [n for n in next(iter(names.values())) if "elbo_kernel" in n]
    assert len(elbo) == 4 * 2 * 3 + 2
    assert len(next(iter(names.values()))) <= MOST_KERNELS
    ptx = {f"compute_{n}" for n in re.findall(r"sm_(\w+)\.ptx", cuobjdump("--list-ptx"))}
    assert ptx == {a for a in wanted_architectures() if a.startswith("compute_")}


def test_no_spills_and_no_stack() -> None:
    spilled = [k for k in kernels() if k[2]["STACK"] or k[2]["LOCAL"]]
    assert not spilled


@functools.cache
def demangled(name: str) -> str:
    filt = shutil.which("c++filt")
    if filt is None:
        return name
    return subprocess.run([filt, name], capture_output=True, text=True, check=True).stdout.strip()


def test_half_of_all_threads_fit() -> None:
    """Half in packets of latents' forwards, 3/8 in those of likelihoods; else a quarter."""
    for architecture, name, resources in kernels():
        shown = demangled(name)
        most = MOST_THREADS.get(architecture, 2048)
        registers = -(-resources["REG"] // 8) * 8
        threads = REGISTERS // (registers * BLOCK) * BLOCK
        packets = "KlPackets" in shown or "true> >(SampleArgs" in shown
        share = 0.5 if packets else 0.25 if "double" in shown else 0.375
        assert threads >= share * most, (architecture, shown, resources)


def sass() -> str:
    architectures = sorted({architecture for architecture, _, _ in kernels()})
    chosen = "sm_90" if "sm_90" in architectures else architectures[0]
    return cuobjdump("-sass", "-arch", chosen)


def functions(text: str) -> dict[str, str]:
    parts = re.split(r"Function : (\w+)", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_packets_are_sixteen_bytes() -> None:
    code = functions(sass())
    hot = [n for n in code if "elbo_kernel" in n and "NllPackets" in n and "Bernoulli" in n]
    assert len(hot) == 3 * 2
    for name in hot:
        assert re.search(r"LDG\.E\.(EF\.)?128", code[name]), demangled(name)
        assert re.search(r"STG\.E\.(EF\.)?128", code[name]), demangled(name)


def test_no_atomics_on_floating_point() -> None:
    atomics = set(re.findall(r"\b(?:ATOM|RED)[A-Z]*\.[\w.]+", sass()))
    assert atomics and all("INC" in a and "F" not in a.split(".")[-1] for a in atomics), atomics


def test_noise_is_never_fused(tmp_path: Path) -> None:
    compiler = setup_cuda.nvcc()
    if compiler is None:
        pytest.skip("no nvcc")
    source = Path(__file__).parent / "cuda" / "noise.cu"
    out = tmp_path / "noise.ptx"
    # With the compiler's default, which fuses where it may: the code itself must forbid it.
    command = [compiler, "-std=c++17", "-O3", "-arch=compute_80", "-ptx", source, "-o", out]
    subprocess.run(command, check=True)
    ptx = out.read_text()
    assert "fma" not in ptx
    assert "mul.rn.f32" in ptx and "add.rn.f32" in ptx and "sqrt.rn.f32" in ptx


def test_entry_points_resolve() -> None:
    path = library()
    readelf = shutil.which("readelf")
    if readelf is not None:
        dynamic = subprocess.run([readelf, "-d", path], capture_output=True, text=True).stdout
        needed = re.findall(r"NEEDED.*\[(.+)\]", dynamic)
        # Without libtorch.so the weak symbol of the current stream would be null.
        assert "libtorch.so" in needed
        assert not any("cudart" in name or "libc10_cuda" in name for name in needed), needed
    if torch.version.cuda is None:
        pytest.skip("this PyTorch has no CUDA: the extension is not loaded")
    assert extension.cuda_loaded(), extension.cuda_missing
    for name in OPERATORS:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"vae_fast::{name}", "CUDA"), name
    assert not torch.cuda.is_initialized()
