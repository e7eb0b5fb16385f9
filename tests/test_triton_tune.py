"""How Triton's kernels cut their work, and the measured choice with its file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vae_fast.triton import autotune, tune
from vae_fast.triton.tune import Config, Key

CPU = torch.device("cpu")
KEY: Key = ("likelihood", True, 4)


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 1000, 70000])
@pytest.mark.parametrize("cols", [0, 1, 3, 20, 784, 1025, 10**9])
@pytest.mark.parametrize("longest", [1, tune.LONGEST])
def test_every_element_is_in_one_tile(rows: int, cols: int, longest: int) -> None:
    cut = tune.cut(rows, cols, 512, longest=longest, narrowest=4)
    assert cut.rows * cut.cols <= 512
    assert cut.cols >= 4
    blocks = max(-(-rows // cut.rows), 1)
    assert cut.units == blocks * cut.chunks
    assert cut.tiles <= longest
    span = cut.tiles * cut.cols
    assert cut.chunks * span >= cols > (cut.chunks - 1) * span or cols == 0


def test_small_calls_have_many_programs_and_large_ones_long_programs() -> None:
    assert tune.cut(1, 128 * 784, 512, longest=16).units == 196
    assert tune.cut(1, 1 << 26, 512, longest=16).tiles == 16
    assert tune.cut(4096, 784, 1024, longest=16) == (1, 1024, 1, 1, 4096)


def test_alignment() -> None:
    assert [tune.alignment(n) for n in (0, 1, 2, 12, 784, 1000)] == [16, 1, 2, 4, 16, 8]
    assert tune.alignment(784, 20) == 4


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(autotune, "machine", lambda device: "a GPU")
    monkeypatch.setattr(autotune, "_known", {})
    return autotune.cache_file()


def test_the_fastest_is_measured_once_and_kept(cache: Path) -> None:
    fastest = Config(1024, 8)
    measured = []

    def measure(key: Key, config: Config, device: torch.device) -> float:
        measured.append(config)
        return 1.0 if config == fastest else 2.0

    def never(key: Key, config: Config, device: torch.device) -> float:
        raise AssertionError("measured again")

    assert autotune.best(KEY, CPU, measure) == fastest
    assert measured == autotune.CANDIDATES
    assert autotune.best(KEY, CPU, never) == fastest
    autotune._known.clear()  # as in the next process
    assert autotune.best(KEY, CPU, never) == fastest
    assert json.loads(cache.read_text()) == {"a GPU": {"likelihood True 4": [1024, 8]}}


@pytest.mark.parametrize("content", ["", "{", '{"another GPU": {"likelihood True 4": [1, 1]}}'])
def test_a_file_that_says_nothing_is_written_again(cache: Path, content: str) -> None:
    cache.parent.mkdir()
    cache.write_text(content)
    assert autotune.best(KEY, CPU, lambda key, config, device: config.warps) == Config(512, 2)
    assert json.loads(cache.read_text())["a GPU"] == {"likelihood True 4": [512, 2]}


def test_nothing_is_measured_unless_asked() -> None:
    found = tune.config("likelihood", 1 << 20, torch.float32, torch.device("cuda"))
    assert found == tune._TABLE[KEY]


def test_bad_value_of_the_variable_is_an_error() -> None:
    code = (
        "import torch, vae_fast as vf; vf.set_backend('triton');"
        "vf.bernoulli_nll(torch.zeros(2, 3), torch.zeros(2, 3))"
    )
    environment = os.environ | {"VAE_FAST_AUTOTUNE": "maybe", "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last == "ValueError: VAE_FAST_AUTOTUNE=maybe: expected 0 or 1"
