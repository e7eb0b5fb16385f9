"""Triton kernels without a GPU: which launches a call makes, and what they compile to.

Launches are recorded on tensors without memory and compiled ahead of time, the very arguments that
a GPU would get; registers and spills are read by the `cuobjdump` in Triton's package.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vae_fast.triton import launch as launching

TYPES = {
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.uint8: "u8",
    torch.bool: "i1",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
}


@dataclass(frozen=True)
class Launch:
    """What one launch was called with."""

    kernel: Any
    programs: int
    warps: int
    args: tuple[Any, ...]
    constants: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Compiled:
    """A kernel in machine code."""

    ptx: str
    sass: str
    registers: int
    spilled: int

    def count(self, pattern: str) -> int:
        """How often an instruction stands in the PTX."""
        return len(re.findall(pattern, self.ptx))


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Launch]]:
    """Launches are kept in the list instead of being made."""
    launches: list[Launch] = []

    def keep(self: launching.Launch, tensors: Any, *scalars: float) -> None:
        args = (*tensors, *self.workspace(), *scalars, *self.numbers)
        launches.append(Launch(self.kernel, self.programs, self.warps, args, self.constants))

    with monkeypatch.context() as patch:
        patch.setattr(launching.Launch, "__call__", keep)
        yield launches


def launches_of(call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """The launches that a call of Triton's operators makes."""
    with recorded(monkeypatch) as launches:
        call()
    return launches


def _key(launch: Launch) -> tuple[Any, ...]:
    types = tuple(a.dtype if isinstance(a, Tensor) else type(a) for a in launch.args)
    return (launch.kernel.fn.__name__, launch.warps, types, *launch.constants.values())


_compiled: dict[tuple[Any, ...], Compiled] = {}


def compiled(launch: Launch, architecture: int) -> Compiled:
    """A launch's kernel for a GPU architecture: 80, 90, 100."""
    key = (architecture, *_key(launch))
    if key not in _compiled:
        _compiled[key] = _compile(launch, architecture)
    return _compiled[key]


def specialisation(launch: Launch) -> str:
    """What tells one compilation of a kernel from another."""
    return str(_key(launch))


def _compile(launch: Launch, architecture: int) -> Compiled:
    signature, constants, attributes = {}, {}, {}
    for place, parameter in enumerate(launch.kernel.params):
        name = parameter.name
        value = launch.constants[name] if name in launch.constants else launch.args[place]
        if isinstance(value, Tensor):
            signature[name] = f"*{TYPES[value.dtype]}"
            attributes[(place,)] = [["tt.divisibility", 16]]
        elif name in launch.constants or value is None:
            signature[name] = "constexpr"
            constants[(place,)] = value
        else:
            signature[name] = parameter.annotation_type
    kernel = triton.compile(
        ASTSource(launch.kernel, signature, constants, attributes),
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": launch.warps, "enable_fp_fusion": False},
    )
    usage, sass = _dump(kernel.asm["cubin"])
    registers, stack, local = (
        int(n) for n in re.search(r"REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+)", usage).groups()
    )
    return Compiled(kernel.asm["ptx"], sass, registers, stack + local)


def _dump(cubin: bytes) -> tuple[str, str]:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        texts = [
            subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True)
            for option in ("-res-usage", "-sass")
        ]
    return texts[0].stdout + texts[0].stderr, texts[1].stdout
