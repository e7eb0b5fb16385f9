"""Finding nvcc, refusing what does not fit, and the options of the build, without compiling."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

setup_cuda = pytest.importorskip("setup_cuda", reason="only in the source tree")

OTHER = "VAE_FAST_OTHER_NVCC"  # the path of an nvcc of another CUDA than PyTorch's


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pretended CUDA 13.0, the only one that can be found."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libcudart_static.a").touch()
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        '--version) echo "Cuda compilation tools, release 13.0, V13.0.88" ;;\n'
        f'--dryrun) echo "#$ TOP={tmp_path}" >&2 ;;\n'
        "esac\n"
    )
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    return tmp_path


def test_nvcc_of_cuda_home_comes_first(toolkit: Path) -> None:
    assert setup_cuda.nvcc() == toolkit / "bin" / "nvcc"
    assert setup_cuda.version(setup_cuda.nvcc()) == (13, 0)
    assert setup_cuda.runtime(setup_cuda.nvcc()) == toolkit / "lib64" / "libcudart_static.a"


def test_no_nvcc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(setup_cuda.sysconfig, "get_paths", lambda: {"purelib": str(tmp_path)})
    assert setup_cuda.nvcc() is None
    assert "nvcc was not found" in setup_cuda.missing(required=True)


@pytest.mark.parametrize(
    ("cuda", "required", "reason"),
    [
        ("13.0", False, ""),
        ("13.2", True, ""),
        ("12.8", False, ""),
        ("12.8", True, ""),
        (None, False, "this PyTorch was built without CUDA"),
        (None, True, ""),
    ],
)
def test_what_fits(
    toolkit: Path, monkeypatch: pytest.MonkeyPatch, cuda: str | None, required: bool, reason: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert setup_cuda.missing(required) == reason


@pytest.mark.parametrize(("release", "reason"), [("12.4", ""), ("12.3", "nvcc is 12.3, expected")])
def test_oldest_nvcc(
    toolkit: Path, monkeypatch: pytest.MonkeyPatch, release: str, reason: str
) -> None:
    program = toolkit / "bin" / "nvcc"
    program.write_text(program.read_text().replace("release 13.0", f"release {release}"))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert setup_cuda.missing(required=True).startswith(reason)
    assert bool(setup_cuda.missing(required=True)) == bool(reason)


def test_no_static_runtime(toolkit: Path) -> None:
    (toolkit / "lib64" / "libcudart_static.a").unlink()
    assert "libcudart_static.a" in setup_cuda.missing(required=True)


def test_architectures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0 9.0a;12.0+PTX")
    assert setup_cuda.architecture_flags((13, 0)) == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-gencode=arch=compute_120,code=sm_120",
        "-gencode=arch=compute_120,code=compute_120",
    ]
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST")
    assert len(setup_cuda.architecture_flags((13, 0))) == 5
    old = setup_cuda.architecture_flags((12, 4))
    assert len(old) == 3 and not any("100" in flag or "120" in flag for flag in old)
    assert "does not know 12.0: left out" in capsys.readouterr().out
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "Hopper")
    with pytest.raises(SystemExit, match="'Hopper'"):
        setup_cuda.architecture_flags((13, 0))


@pytest.mark.slow
@pytest.mark.skipif(OTHER not in os.environ, reason=f"{OTHER} names no second nvcc")
def test_what_another_nvcc_built_is_loaded(tmp_path: Path) -> None:
    if torch.version.cuda is None:
        pytest.skip("this PyTorch has no CUDA: the extension is not loaded")
    compiler = Path(os.environ[OTHER])
    assert setup_cuda.version(compiler)[0] != int(torch.version.cuda.split(".")[0])
    root, lib = Path(setup_cuda.__file__).parent, tmp_path / "lib"
    choice = {"VAE_FAST_CPU": "0", "VAE_FAST_CUDA": "1", "TORCH_CUDA_ARCH_LIST": "9.0"}
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", str(lib)]
    subprocess.run(
        [*command, "--build-temp", str(tmp_path / "temp")],
        cwd=root,
        env=os.environ | choice | {"CUDA_HOME": str(compiler.parents[1])},
        check=True,
    )
    python = shutil.ignore_patterns("*.so")
    shutil.copytree(root / "vae_fast", lib / "vae_fast", ignore=python, dirs_exist_ok=True)
    script = "import vae_fast.ops.extension as e; print(e.FOLDER, e.cuda_missing)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(lib)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(lib / "vae_fast"), done.stderr
