"""The compiled CPU kernels are vectorised: what GCC silently leaves scalar is ten times slower."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter

import pytest

from vae_fast.ops import extension

FUNCTORS = [
    "Bernoulli",
    "Gaussian",
    "GaussianUnit",
    "Laplace",
    "LaplaceUnit",
    "Poisson",
    "NegativeBinomial",
    "ZeroInflated",
    "Mixture",
    "MixtureOfOneTheta",
]
# Of the formulas with polynomials; the others have a handful of vector operations.
LEAST = {"GaussianUnit": 4, "LaplaceUnit": 4}


@pytest.fixture(scope="module")
def arithmetic() -> Counter[str]:
    """Fused multiply-adds of sixteen floats, by the functor in the name of their function."""
    if "avx" not in extension.cpu_isa:
        pytest.skip("the kernels are not of an x86-64 processor with AVX")
    tool = shutil.which("objdump")
    if tool is None:
        pytest.skip("needs objdump")
    library = str(extension.FOLDER / "_C.abi3.so")
    done = subprocess.run(
        [tool, "-d", "--no-show-raw-insn", library], capture_output=True, text=True
    )
    found: Counter[str] = Counter()
    functor = ""
    for line in done.stdout.splitlines():
        if label := re.match(r"[0-9a-f]+ <(\w+)", line):
            known = re.search(r"avx512.*?I?f?NS\d*_\d+([A-Z][A-Za-z]+)If", label[1])
            functor = known[1] if known else ""
        elif functor and re.search(r"\bvfn?m\w+ .*zmm", line):
            found[functor] += 1
    if not found:
        pytest.skip("the library has no symbols")
    return found


@pytest.mark.parametrize("functor", FUNCTORS)
def test_float_loops_are_vectorised(functor: str, arithmetic: Counter[str]) -> None:
    assert arithmetic[functor] >= LEAST.get(functor, 30), arithmetic
