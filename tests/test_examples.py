"""The examples run as they are, on a small made-up data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from support.data import write_mnist

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    write_mnist(folder, packed=True, train=300, test=100, size=(28, 28), largest_label=9)
    images = random.integers(0, 256, (450, 28, 20), dtype=np.uint8)
    np.savez_compressed(folder / "freyface.npz", images=images)
    return folder


def run(example: str, folder: Path, runs: Path, out: Path) -> str:
    command = [sys.executable, str(EXAMPLES / example), "--epochs", "1", "--data", str(folder)]
    done = subprocess.run(
        [*command, "--runs", str(runs), "--out", str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("example", "picture"),
    [
        ("latent_sizes.py", "latent-sizes.png"),
        ("manifolds.py", "manifolds.png"),
        ("autoencoder_or_vae.py", "autoencoder-or-vae.png"),
        ("models.py", "models.png"),
    ],
)
def test_figures(example: str, picture: str, folder: Path, tmp_path: Path) -> None:
    printed = run(example, folder, tmp_path / "runs", tmp_path)
    assert "training" in printed
    assert imread(tmp_path / picture).std() > 0.05
    # A second time the networks are there.
    assert "training" not in run(example, folder, tmp_path / "runs", tmp_path)


def test_pictures_of_the_terms(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "terms.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {
        f"{name}.png"
        for name in ("sampling", "kl", "bernoulli", "gaussian", "cancellation", "gumbel")
    }
    for path in tmp_path.glob("*.png"):
        assert imread(path).std() > 0.05, path.name


def test_frey_face(folder: Path, tmp_path: Path) -> None:
    printed = run("frey_face.py", folder, tmp_path / "runs", tmp_path)
    assert "gaussian-pixel: " in printed and "gaussian-shared: " in printed
