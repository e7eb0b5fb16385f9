"""Checks what the sdist and the wheel in a directory hold: everything needed and nothing else."""

import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

NEEDED_IN_SDIST = {
    "LICENSE",
    "README.md",
    "csrc/cpu/isa_avx512.cpp",
    "csrc/cpu/likelihood_kernel.h",
    "csrc/cuda/likelihood_float32.cu",
    "csrc/cuda/likelihood_kernel.cuh",
    "csrc/math/elementary.h",
    "csrc/ops.cpp",
    "pyproject.toml",
    "setup.py",
    "setup_cuda.py",
    "vae_fast/py.typed",
}
NEEDED_IN_WHEEL = {
    "vae_fast/__init__.py",
    "vae_fast/_C.abi3.so",
    "vae_fast/_CUDA.abi3.so",
    "vae_fast/nets/vae.py",
    "vae_fast/ops/likelihood.py",
    "vae_fast/py.typed",
    "vae_fast/reference/noise.py",
    "vae_fast/triton/likelihood.py",
}


def check(kind: str, names: set[str], needed: set[str], allowed: tuple[str, ...]) -> None:
    missing = sorted(needed - names)
    extra = sorted(n for n in names if not n.startswith(allowed))
    if missing or extra:
        sys.exit(f"{kind}: missing {missing}, unexpected {extra}")
    print(f"{kind}: {len(names)} files, as expected")


def main(folder: Path) -> None:
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(sdist) as archive:
        members = {
            str(PurePosixPath(*PurePosixPath(m.name).parts[1:])) for m in archive if m.isfile()
        }
    check(
        "sdist",
        members,
        NEEDED_IN_SDIST,
        (
            *("LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup"),
            *("csrc/", "tests/", "vae_fast/", "vae_fast.egg-info/"),
        ),
    )
    with zipfile.ZipFile(wheel) as archive:
        files = {n for n in archive.namelist() if not n.endswith("/")}
    check("wheel", files, NEEDED_IN_WHEEL, ("vae_fast/", "vae_fast-"))
    if wheel.name.split("-")[2:4] != ["py3", "none"]:
        sys.exit(f"wheel: {wheel.name} names a Python version, expected py3-none-<platform>")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
