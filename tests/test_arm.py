"""The CPU kernels' arithmetic on 64-bit Arm, by an emulator: the noise has the same bits there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from support.compare import assert_same_bits
from torch import Tensor

from vae_fast.reference.noise import gumbel, normal

SOURCE = Path(__file__).with_name("arm") / "kernels.cpp"
COMPILER = shutil.which("aarch64-linux-gnu-g++")
EMULATOR = shutil.which("qemu-aarch64")
# Those of setup.py on which bits depend, and its optimisation.
FLAGS = (
    *("-std=c++17", "-O3", "-static", "-Wall", "-Werror", "-fopenmp-simd", "-ffp-contract=off"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-thread-jumps"),
)
COUNT = 20_003

pytestmark = [
    pytest.mark.cpu_only,
    pytest.mark.skipif(
        not (COMPILER and EMULATOR and (SOURCE.parents[2] / "csrc").exists()),
        reason="needs the sources, aarch64-linux-gnu-g++ and qemu-aarch64",
    ),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("arm") / "kernels"
    subprocess.run([str(COMPILER), *FLAGS, str(SOURCE), "-o", str(out)], check=True)
    return out


def run(program: Path, seed: int, first: int) -> Tensor:
    """Rows: normal noise, Gumbel noise, values and derivatives of the cross entropy."""
    command = [str(EMULATOR), str(program), str(seed), str(first), str(COUNT)]
    written = subprocess.run(command, check=True, capture_output=True).stdout
    return torch.frombuffer(bytearray(written), dtype=torch.float32).view(4, COUNT)


@pytest.mark.parametrize("first", [0, 2**34 - 64, 2**40 + 8])
def test_noise_bits(program: Path, first: int) -> None:
    seed = int(torch.randint(2**62, ()))
    found = run(program, seed, first)
    assert_same_bits(found[0], normal(torch.tensor([seed]), (COUNT,), first))
    assert_same_bits(found[1], gumbel(torch.tensor([seed]), (COUNT,), first))


def test_cross_entropy(program: Path) -> None:
    noise, _, value, derivative = run(program, 5, 0).double()
    logits, target = 8.0 * noise, (torch.arange(COUNT) & 255).float().div(255.0).double()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, target, reduction="none"
    )
    # Up to eight roundings, the largest of numbers of the size of the logits or of 1.
    bound = 8 * torch.finfo(torch.float32).eps * (1.0 + logits.abs())
    assert (value - expected).abs().le(bound).all()
    slope = torch.sigmoid(logits) - target
    assert (derivative - slope).abs().le(8 * torch.finfo(torch.float32).eps).all()
