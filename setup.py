"""Build of the compiled kernels; everything else is in pyproject.toml.

The extension uses PyTorch's stable ABI and Python's limited API, so that one wheel serves every
supported PyTorch (2.11 and newer) and CPython (3.10 and newer). Where there is no compiler the
package installs without it and uses its PyTorch reference; VAE_FAST_CPU=1 makes that an error,
VAE_FAST_CPU=0 skips the build.
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

try:
    from wheel.bdist_wheel import bdist_wheel
except ImportError:
    from setuptools.command.bdist_wheel import bdist_wheel

ROOT = Path(__file__).parent
REQUIRED = os.environ.get("VAE_FAST_CPU", "auto")

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


def torch_extension() -> Extension:
    import torch
    from torch.utils.cpp_extension import include_paths, library_paths

    assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 11), "torch >= 2.11 is needed"
    extension = Extension(
        "vae_fast._C",
        ["csrc/ops.cpp", *sources("cpu", ".cpp")],
        depends=[str(f.relative_to(ROOT)) for f in (ROOT / "csrc").rglob("*.h")],
        define_macros=[
            ("TORCH_TARGET_VERSION", TORCH_TARGET_VERSION),
            ("Py_LIMITED_API", "0x030A0000"),
        ],
        library_dirs=library_paths(),
        libraries=["torch_cpu", "c10"],
        extra_compile_args=COMPILE_ARGS + [f"-isystem{path}" for path in include_paths()],
        language="c++",
    )
    extension.py_limited_api = True
    return extension


class BuildKernels(build_ext):
    """Compiles the sources in parallel, and makes a missing compiler no error."""

    def run(self) -> None:
        try:
            super().run()
        except (CCompilerError, ExecError, PlatformError) as error:
            if REQUIRED == "1":
                raise
            self.extensions = []
            print(f"vae_fast: no compiled kernels ({error}); the PyTorch reference is used instead")

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
    ext_modules=[] if REQUIRED == "0" else [torch_extension()],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": StableWheel},
)
