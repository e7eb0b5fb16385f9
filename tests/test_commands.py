"""Commands that look at a trained network: what they write, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from vae_fast.cli import main
from vae_fast.training import trained

QUICK = ["--dataset", "digits", "--hidden", "32", "--epochs", "1", "--quiet"]
DIGITS_TEST = 297


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with two latent dimensions."""
    out = tmp_path_factory.mktemp("run")
    assert main(["train", *QUICK, "--out", str(out), "--latent", "2"]) == 0
    return out


def test_generate(run: Path, tmp_path: Path) -> None:
    pictures = []
    for seed in (1, 1, 2):
        out = tmp_path / "generated.png"
        command = ["generate", str(run), "--out", str(out), "--count", "5", "--seed", str(seed)]
        assert main(command) == 0
        pictures.append(numpy.asarray(Image.open(out)))
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).any()


def test_manifold(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifold.png"
    assert main(["manifold", str(run), "--out", str(out), "--side", "4"]) == 0
    width, height = Image.open(out).size
    assert width >= 4 * 48 and height >= 4 * 48


def test_a_manifold_needs_two_dimensions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *QUICK, "--out", str(tmp_path), "--latent", "3"]) == 0
    assert main(["manifold", str(tmp_path), "--out", str(tmp_path / "manifold.png")]) == 1
    assert "has 3 latent dimensions, a manifold needs 2" in capsys.readouterr().err
    assert not (tmp_path / "manifold.png").exists()


def test_walk(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "walk"
    command = ["walk", str(run), "--out", str(out), "--start", "3", "--end", "8", "--steps", "6"]
    assert main(command) == 0
    assert Image.open(tmp_path / "walk.png").size[0] >= 6 * 48
    with Image.open(tmp_path / "walk.gif") as animation:
        assert animation.n_frames == 6 + 4  # there and back, the ends once
    assert main(["walk", str(run), "--end", str(DIGITS_TEST)]) == 1
    assert f"its data has {DIGITS_TEST} test images" in capsys.readouterr().err


def test_embed(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "embedding"
    assert main(["embed", str(run), "--out", str(out)]) == 0
    with numpy.load(tmp_path / "embedding.npz") as arrays:
        assert arrays["code"].shape == (DIGITS_TEST, 2)
        assert set(arrays["labels"]) == set(range(10))
        network = trained.load(run, None, torch.device("cpu"))
        assert numpy.allclose(arrays["code"][:7], network.code(network.test[:7]), atol=1e-5)
    assert Image.open(tmp_path / "embedding.png").size == (600, 540)


@pytest.mark.parametrize(
    "options",
    [["generate", "--count", "0"], ["walk", "--steps", "1"], ["manifold", "--side", "0"]],
    ids=lambda o: o[0],
)
def test_bad_options(run: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([options[0], str(run), *options[1:]])
    assert stop.value.code == 2
    assert options[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["generate", "walk", "manifold", "embed", "evaluate", "anomaly"]
)
def test_no_checkpoint(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "no such checkpoint" in error and error.count("\n") == 1
