"""Commands that look at a trained network: what they write, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from vae_fast.anomaly import roc_auc, score
from vae_fast.cli import main
from vae_fast.evaluate import evaluate
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network of each model, those with labels in mind without the label 7."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {
        "ae": ["--latent", "2", "--without-label", "7"],
        "denoising-ae": [],
        "sparse-ae": [],
        "cvae": ["--latent", "2"],
        "flow-vae": ["--latent", "2", "--without-label", "7"],
        "categorical-vae": ["--latent", "3", "--categories", "4"],
    }
    for model, options in settings.items():
        command = ["train", *QUICK, "--model", model, *options, "--out", str(folder / model)]
        assert main(command) == 0
    return {model: folder / model for model in settings}


MODELS = ("ae", "denoising-ae", "sparse-ae", "cvae", "flow-vae", "categorical-vae")
VARIATIONAL = ("cvae", "flow-vae", "categorical-vae")
# What needs a prior, and of what kind.
FITS = {
    "generate": VARIATIONAL,
    "manifold": ("flow-vae", "cvae"),
    "evaluate": VARIATIONAL,
    "walk": MODELS,
    "embed": MODELS,
    "anomaly": MODELS,
}
OPTIONS = {
    "generate": ["--count", "20"],
    "manifold": ["--side", "3"],
    "evaluate": ["--samples", "2", "--no-progress"],
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("command", FITS)
def test_every_command_on_every_model(
    command: str,
    model: str,
    runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [*OPTIONS.get(command, []), "--out", str(tmp_path / "result")]
    if (command, model) == ("manifold", "cvae"):
        options += ["--label", "3"]
    status = main([command, str(runs[model]), *options])
    printed = capsys.readouterr()
    if model in FITS[command]:
        assert status == 0, printed.err
        assert list(tmp_path.iterdir())
    else:
        assert status == 1
        assert printed.err.count("\n") == 1
        assert f"the model {model} has no" in printed.err and str(runs[model]) in printed.err
        assert not list(tmp_path.iterdir())


def test_generate_of_a_label(
    runs: dict[str, Path], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "generated.png"
    pictures = []
    for label in (0, 1):
        command = ["generate", str(runs["cvae"]), "--out", str(out), "--count", "12"]
        assert main([*command, "--label", str(label)]) == 0
        pictures.append(numpy.asarray(Image.open(out)))
    assert (pictures[0] != pictures[1]).any()
    out.unlink()
    for folder, label, words in (
        (runs["cvae"], "10", "has the labels 0 to 9, got 10"),
        (run, "3", "the model vae takes no label, got 3"),
    ):
        assert main(["generate", str(folder), "--out", str(out), "--label", label]) == 1
        assert words in capsys.readouterr().err
        assert not out.exists()
    assert main(["manifold", str(runs["cvae"]), "--out", str(out)]) == 1
    assert "needs a label" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["ae", "flow-vae"])
def test_anomaly_of_a_label_never_seen(
    model: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "anomaly"
    assert main(["anomaly", str(runs[model]), "--out", str(out), "--samples", "4"]) == 0
    printed = capsys.readouterr().out
    assert "of label 7" in printed and printed.count("ROC-AUC") == 1 + (model != "ae")
    with numpy.load(tmp_path / "anomaly.npz") as arrays:
        assert set(arrays) == {"recon", "held_out"} | ({"elbo"} if model != "ae" else set())
        assert len(arrays["recon"]) == DIGITS_TEST
        # The digits' labels are about equally frequent.
        assert 15 < arrays["held_out"].sum() < 45
    assert Image.open(tmp_path / "anomaly.png").size[0] > 12 * 48


def test_anomaly_scores_are_the_models_losses(run: Path) -> None:
    network = trained.load(run, None, torch.device("cpu"))
    scores = score(network, network.test, network.labels, 200)
    assert scores.elbo is not None
    result = evaluate(network, 0, 0)
    # The mean over 297 images of one draw each, and of 200: the first one's noise is larger.
    spread = scores.elbo.std().item() / len(network.test) ** 0.5
    assert scores.elbo.mean().item() == pytest.approx(-result.elbo, abs=5 * spread)
    x = network.test.double() / 255
    images = network.decode(network.code(network.test)).double()
    cross_entropy = -(x * images.log() + (1 - x) * (-images).log1p()).sum(1)
    # Probabilities are rounded to float32, which their logarithms see near 0 and 1.
    assert torch.allclose(scores.recon.double(), cross_entropy, rtol=1e-4)


def test_roc_auc() -> None:
    low, high = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0])
    # Pairs: 4 is above all three, 2 above one and tied with one.
    assert roc_auc(low, high) == pytest.approx((3 + 1.5) / 6)


@pytest.mark.parametrize(
    "options",
    [
        ["generate", "--count", "0"],
        ["walk", "--steps", "1"],
        ["manifold", "--side", "0"],
        ["anomaly", "--samples", "0"],
    ],
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
