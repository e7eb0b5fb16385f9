"""Builds and runs CUDA sources on the CPU, by the simulator in tests/simt, also with sanitizers.

AddressSanitizer finds accesses beyond buffers, UBSan those beyond arrays and packets at unaligned
addresses, ThreadSanitizer races between the CUDA threads of a block. Whatever one of them finds
ends the program. The simulator itself ends it where threads would wait for each other for ever.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SIMT = Path(__file__).resolve().parents[1] / "simt"
COMPILER = shutil.which("g++")
MEMORY = "address,undefined"
RACES = "thread"
SCHEDULES = ("forward", "reverse", "random:1", "random:2", "starve:0", "starve:3")

needs_compiler = pytest.mark.skipif(
    COMPILER is None, reason="no g++ to compile CUDA sources for the CPU"
)

# Debug information for the lines in reports; that of variables doubles the time to compile.
FLAGS = (
    *("-std=c++17", "-O1", "-g1", "-Wall", "-Wextra", "-Wno-unknown-pragmas"),  # pragmas are nvcc's
    *("-ffp-contract=off", "-fPIC", f"-I{SIMT}"),
)


def build(
    sources: Sequence[Path],
    out: Path,
    *,
    sanitizer: str | None = None,
    shared: bool = False,
    extra: Sequence[str] = (),
) -> Path:
    """Compiles sources, C++ or CUDA, for the CPU and links them.

    Args:
        sources: compiled one by one, as many at a time as there are processors.
        out: the program or library; its object files go beside it.
        sanitizer: what `-fsanitize` takes, `MEMORY` or `RACES` for example.
        shared: a library instead of a program.
        extra: further arguments of the compiler and the linker.

    Returns:
        `out`.

    Raises:
        AssertionError: with the compiler's messages.
    """
    sanitize = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"] if sanitizer else []
    objects = [out.parent / f"{out.name}.{i}.{source.stem}.o" for i, source in enumerate(sources)]

    def compile_one(source: Path, target: Path) -> None:
        _compiler([*FLAGS, *sanitize, *extra, "-x", "c++", "-c", source, "-o", target])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, sources, objects))
    kind = ["-shared"] if shared else []
    _compiler([*kind, *sanitize, *objects, "-o", out, *extra])
    return out


def run(
    command: Sequence[str | Path],
    *,
    schedule: str = "forward",
    sanitizer: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Runs what was built, or a program that loads it, whatever its exit status.

    Args:
        command: the program and its arguments.
        schedule: the order of threads and blocks; see tests/simt/simt_schedule.h.
        sanitizer: the one it was built with.
        environment: variables to add.
        timeout: seconds, after which it fails.
    """
    prefix = _without_randomized_addresses() if sanitizer == RACES else []
    variables = {
        "SIMT_SCHEDULE": schedule,
        # Containers forbid the ptrace that looking for leaks needs; kernels allocate nothing.
        "ASAN_OPTIONS": "detect_leaks=0",
        "TSAN_OPTIONS": "halt_on_error=1:atexit_sleep_ms=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return subprocess.run(
        [*prefix, *map(str, command)],
        env={**os.environ, **variables, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def preload(library: str) -> dict[str, str]:
    """The environment in which Python, itself not sanitized, can load sanitized libraries.

    Args:
        library: of the sanitizer, `libasan.so` for example.
    """
    found = subprocess.run(
        [str(COMPILER), f"-print-file-name={library}"], capture_output=True, text=True, check=True
    )
    return {"LD_PRELOAD": os.path.realpath(found.stdout.strip())}


def _compiler(arguments: Sequence[str | Path]) -> None:
    result = subprocess.run(
        [str(COMPILER), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@functools.cache
def _without_randomized_addresses() -> list[str]:
    """For ThreadSanitizer, which wants memory at certain addresses. Containers may forbid it."""
    prefix = ["setarch", platform.machine(), "-R"]
    if shutil.which("setarch") is None:
        return []
    allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if allowed else []
