"""Build of the CUDA extension with nvcc and ninja: `.cu` files without any torch header, and host
files on PyTorch's stable ones, linked with the static CUDA runtime."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

from setuptools import Extension
from setuptools.errors import CompileError

# 8.6 and 8.9 run the code of 8.0, and what is newer than all of these its PTX.
ARCHITECTURES = "8.0+PTX;9.0;10.0;12.0"
OLDEST = (12, 4)
BLACKWELL = (12, 8)  # the first nvcc that knows 10.0 and 12.0, and compresses
NVCC_ARGS = [
    "-std=c++17",
    "-O3",
    "-fmad=false",  # as on the CPU: formulas fuse explicitly, the noise never
    "--compiler-options=-fPIC,-fvisibility=hidden",
]
COMPRESS = "--compress-mode=size"  # a fifth of the size


def nvcc() -> Path | None:
    """The compiler: of CUDA_HOME, on the PATH, or in NVIDIA's Python package."""
    candidates = []
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            candidates.append(Path(os.environ[variable]) / "bin" / "nvcc")
    if found := shutil.which("nvcc"):
        candidates.append(Path(found))
    site = Path(sysconfig.get_paths()["purelib"])
    candidates += sorted(site.glob("nvidia/cu*/bin/nvcc"), reverse=True)
    return next((path for path in candidates if path.exists()), None)


def version(compiler: Path) -> tuple[int, int]:
    text = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"release (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def toolkit(compiler: Path) -> Path:
    """The folder with `include` and the static runtime."""
    text = subprocess.run([compiler, "--dryrun", "x.cu"], capture_output=True, text=True).stderr
    top = re.search(r"^#\$ TOP=(.+)$", text, re.MULTILINE)
    return Path(top[1].strip()).resolve() if top else compiler.parent.parent


def runtime(compiler: Path) -> Path | None:
    """The static CUDA runtime."""
    root = toolkit(compiler)
    for folder in ("lib64", "lib", "targets/x86_64-linux/lib"):
        if (root / folder / "libcudart_static.a").exists():
            return root / folder / "libcudart_static.a"
    return None


def missing(required: bool) -> str:
    """Why the extension cannot be built here, empty if it can.

    PyTorch's version of CUDA does not matter: device code sees no header of PyTorch, and the object
    brings its own runtime, which needs a driver of its major version.
    """
    import torch

    compiler = nvcc()
    if compiler is None:
        return "nvcc was not found (CUDA_HOME, PATH)"
    if runtime(compiler) is None:
        return f"{toolkit(compiler)} has no libcudart_static.a"
    found = version(compiler)
    if found < OLDEST:
        return f"nvcc is {found[0]}.{found[1]}, expected at least {OLDEST[0]}.{OLDEST[1]}"
    if torch.version.cuda is None and not required:
        return "this PyTorch was built without CUDA"
    return ""


def architecture_flags(nvcc_version: tuple[int, int]) -> list[str]:
    """-gencode options of TORCH_CUDA_ARCH_LIST, such as "8.0 9.0+PTX"; by default those of all
    architectures that this nvcc knows."""
    flags = []
    chosen = os.environ.get("TORCH_CUDA_ARCH_LIST")
    for name in re.split(r"[;\s]+", chosen or ARCHITECTURES):
        found = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", name)
        if not found:
            raise SystemExit(
                f"TORCH_CUDA_ARCH_LIST: got {name!r}, expected for example 9.0 or 9.0+PTX"
            )
        if not chosen and int(found[1]) >= 10 and nvcc_version < BLACKWELL:
            ours = ".".join(map(str, nvcc_version))
            print(f"vae_fast: nvcc {ours} does not know {name}: left out")
            continue
        number = found[1] + found[2]
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if found[3]:
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


def build(ext: Extension, output: Path, folder: Path) -> None:
    """Compiles and links the extension; objects that are up to date are kept in `folder`."""
    compiler = nvcc()
    assert compiler is not None
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    cxx = os.environ.get("CXX", "c++")
    defines = [f"-D{name}={value}" for name, value in ext.define_macros]
    host_flags = [*ext.extra_compile_args, *defines, "-fPIC"]
    device_flags = [*NVCC_ARGS, *architecture_flags(version(compiler))]
    if version(compiler) >= BLACKWELL:
        device_flags.append(COMPRESS)
    # The current stream's function is a weak symbol of libtorch, which as-needed would drop.
    link_flags = ["-shared", "-s", f"{runtime(compiler)}", "-ldl", "-lrt", "-lpthread"]
    link_flags += ["-Wl,--exclude-libs,ALL", "-Wl,--no-as-needed"]
    link_flags += [f"-L{path}" for path in ext.library_dirs]
    link_flags += ["-ltorch", *(f"-l{name}" for name in ext.libraries)]

    lines = [
        "rule host",
        f"  command = {cxx} -MMD -MF $out.d {shlex.join(host_flags)} -c $in -o $out",
        "  depfile = $out.d",
        "rule device",
        f"  command = {compiler} -MMD -MF $out.d {shlex.join(device_flags)} -c $in -o $out",
        "  depfile = $out.d",
        "rule link",
        f"  command = {cxx} $in {shlex.join(link_flags)} -o $out",
    ]
    objects = []
    for source in map(Path, ext.sources):
        target = folder / f"{source.parent.name}_{source.name}.o"
        rule = "device" if source.suffix == ".cu" else "host"
        lines.append(f"build {target}: {rule} {source.resolve()}")
        objects.append(str(target))
    lines.append(f"build {output.resolve()}: link {' '.join(objects)}")
    script = folder / "build.ninja"
    script.write_text("\n".join(lines).replace("$ ", "$$ ") + "\n")

    ninja = shutil.which("ninja") or _ninja_of_python()
    if ninja is None:
        raise CompileError("ninja was not found (pip install ninja)")
    jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
    if subprocess.run([ninja, "-C", folder, *jobs]).returncode:
        raise CompileError("the CUDA kernels did not compile, see above")


def _ninja_of_python() -> str | None:
    try:
        import ninja
    except ImportError:
        return None
    return str(Path(ninja.BIN_DIR) / "ninja")
