"""Build of the compiled kernels; everything else is in pyproject.toml.

The extensions use PyTorch's stable ABI and Python's limited API, so that one wheel serves every
supported PyTorch (2.11 and newer) and CPython (3.10 and newer). There is one for the CPU and one
for CUDA. Where there is no compiler the package installs without and uses what is left.

VAE_FAST_CPU, VAE_FAST_CUDA: 1 makes a failed build an error, 0 skips it. By default CUDA kernels
are built where nvcc (12.4 or newer) is found and PyTorch has CUDA, of whatever version; with 1 also
beside a PyTorch without CUDA. TORCH_CUDA_ARCH_LIST and MAX_JOBS are respected as by PyTorch.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

try:
    from wheel.bdist_wheel import bdist_wheel
except ImportError:
    from setuptools.command.bdist_wheel import bdist_wheel

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))
import setup_cuda  # noqa: E402  (build isolation leaves this folder out of the path)

CHOICE = {name: os.environ.get(f"VAE_FAST_{name}", "auto") for name in ("CPU", "CUDA")}

# Oldest PyTorch whose symbols may be used: 2.11, as encoded in torch/headeronly/version.h.
TORCH_TARGET_VERSION = "0x020b000000000000"

COMPILE_ARGS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fopenmp-simd",
    "-fvisibility=hidden",
    "-ffp-contract=off",  # the noise has the same bits on every machine; formulas fuse explicitly
    "-fno-math-errno",
    "-fno-trapping-math",  # selects may be computed on both sides, as vector units do
    "-fno-thread-jumps",  # GCC else splits clamped values off the vector path (9 % slower)
    "-Wall",
    "-Wextra",
]


SHARED = ["csrc/tensors.cpp", "csrc/loss.cpp"]  # compiled into the extension of every device


def sources(folder: str, *suffixes: str) -> list[str]:
    files = [f for suffix in suffixes for f in (ROOT / "csrc" / folder).glob(f"*{suffix}")]
    return SHARED + sorted(str(f.relative_to(ROOT)) for f in files)


def extension(name: str, files: list[str]) -> Extension:
    import torch
    from torch.utils.cpp_extension import include_paths, library_paths

    assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 11), "torch >= 2.11 is needed"
    result = Extension(
        name,
        files,
        depends=[str(f.relative_to(ROOT)) for f in (ROOT / "csrc").rglob("*.*h")],
        define_macros=[
            ("TORCH_TARGET_VERSION", TORCH_TARGET_VERSION),
            ("Py_LIMITED_API", "0x030A0000"),
        ],
        library_dirs=library_paths(),
        libraries=["torch_cpu", "c10"],
        extra_compile_args=COMPILE_ARGS + [f"-isystem{path}" for path in include_paths()],
        language="c++",
    )
    result.py_limited_api = True
    return result


def extensions() -> list[Extension]:
    result = []
    if CHOICE["CPU"] != "0":
        result.append(extension("vae_fast._C", ["csrc/ops.cpp", *sources("cpu", ".cpp")]))
    missing = setup_cuda.missing(required=CHOICE["CUDA"] == "1")
    if CHOICE["CUDA"] == "1" and missing:
        raise SystemExit(f"vae_fast: VAE_FAST_CUDA=1, but {missing}")
    if CHOICE["CUDA"] != "0" and not missing:
        files = ["csrc/ops_cuda.cpp", *sources("cuda", ".cpp", ".cu")]
        result.append(extension("vae_fast._CUDA", files))
    elif CHOICE["CUDA"] != "0":
        print(f"vae_fast: no CUDA kernels: {missing}")
    return result


class BuildKernels(build_ext):
    """Makes a failed build no error, unless it was asked for."""

    def build_extensions(self) -> None:
        for ext in list(self.extensions):
            kind = "CUDA" if ext.name.endswith("_CUDA") else "CPU"
            try:
                if kind == "CUDA":
                    output = Path(self.get_ext_fullpath(ext.name))
                    setup_cuda.build(ext, output, Path(self.build_temp) / "cuda")
                else:
                    self.build_extension(ext)
            except (CCompilerError, ExecError, PlatformError) as error:
                if CHOICE[kind] == "1":
                    raise
                self.extensions.remove(ext)
                print(f"vae_fast: no {kind} kernels: {error}")

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []  # a library for torch.ops.load_library, not a Python module: no PyInit


class StableWheel(bdist_wheel):
    """Tags the wheel for the platform alone: no symbol of a Python version is used."""

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        return (
            ("py3", "none", platform)
            if self.distribution.has_ext_modules()
            else (python, abi, platform)
        )


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": StableWheel},
)
