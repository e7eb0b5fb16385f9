"""The model of counts: its distributions against PyTorch's, its training, and its commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from PIL import Image
from torch import Tensor
from torch.distributions import NegativeBinomial, Poisson

from vae_fast.cli import main
from vae_fast.nets import VAE, Architecture
from vae_fast.nets.counts import Counts, row_sums
from vae_fast.training.config import TrainConfig

CELLS, GENES = 60, 11
ONE_EPOCH = ["--model", "scvi", "--epochs", "1", "--quiet"]


def counts(cells: int = CELLS) -> Tensor:
    x = torch.poisson(2 * torch.rand(cells, GENES)) * (torch.rand(cells, GENES) < 0.5)
    x[1] = 0
    return x


def architecture(likelihood: str, **options: Any) -> Architecture:
    return Architecture((1, 1, GENES), 3, 16, "counts", likelihood=likelihood, **options)


def textbook(likelihood: str, params: Any, x: Tensor) -> Tensor:
    """-log p(x|z) [..., B] by PyTorch's distributions, in float64."""
    logits, *others = (p.double() for p in params)
    mean = x.sum(-1, keepdim=True).clamp(min=1) * torch.softmax(logits, -1)
    if likelihood == "poisson":
        return -Poisson(mean).log_prob(x.double()).sum(-1)
    theta = others[0].exp()
    nb = NegativeBinomial(theta, logits=mean.log() - theta.log()).log_prob(x.double())
    if likelihood == "nb":
        return -nb.sum(-1)
    zero, other = torch.sigmoid(others[1]), torch.sigmoid(-others[1])
    return -(zero * (x == 0) + other * nb.exp()).log().sum(-1)


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
@pytest.mark.parametrize("likelihood", ["poisson", "nb", "zinb"])
@pytest.mark.parametrize("samples", [None, 3])
def test_distributions(likelihood: str, dispersion: str, samples: int | None) -> None:
    """Dense and sparse; float32 sums of GENES terms below 100."""
    x, model = counts(), VAE(architecture(likelihood, dispersion=dispersion))
    out = model(x, seed=torch.tensor([3]), samples=samples)
    want = textbook(likelihood, out.params, x)
    want = want if samples is None else want.mean(0)
    for target in (x, x.int(), x.to_sparse_csr(), x.int().to_sparse_csr()):
        got = model.loss(out, target, 0.5, "sample")
        torch.testing.assert_close(got.recon.double(), want, rtol=1e-6, atol=GENES * 1e-5)
        torch.testing.assert_close(got.loss, got.recon + 0.5 * out.kl)
        mean, total = (model.loss(out, target, 0.5, r) for r in ("batchmean", "sum"))
        torch.testing.assert_close(mean.loss, got.loss.mean())
        torch.testing.assert_close(total.kl, got.kl.sum())
    mean.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    shares = model.expected(model.code(x))
    torch.testing.assert_close(shares.sum(-1), torch.ones(CELLS))


def test_covariates_reach_both_sides() -> None:
    model = VAE(architecture("nb", classes=2))
    x, zeros = counts(), torch.zeros(CELLS, dtype=torch.int64)
    assert not torch.equal(model.code(x, zeros), model.code(x, zeros + 1))
    z = model.code(x, zeros)
    assert not torch.equal(model.expected(z, zeros), model.expected(z, zeros + 1))


def test_row_sums_are_exact() -> None:
    x = torch.randint(0, 2**20, (50, 40)) * (torch.rand(50, 40) < 0.3)
    assert torch.equal(row_sums(x), x.sum(1).float())
    assert torch.equal(row_sums(x.to_sparse_csr()), x.sum(1).float())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"likelihood": "normal"}, "likelihood"),
        ({"dispersion": "cell"}, "dispersion"),
    ],
)
def test_unknown_distributions(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}: got"):
        Counts(**({"likelihood": "nb", "dispersion": "gene", "genes": 3} | settings))


def test_images_and_counts_have_their_own_likelihoods() -> None:
    with pytest.raises(ValueError, match="with the network 'mlp'"):
        Architecture(likelihood="nb")
    with pytest.raises(ValueError, match="with the network 'counts'"):
        Architecture((1, 1, 5), network="counts")
    with pytest.raises(ValueError, match="one of nb, zinb, poisson for the model scvi, got"):
        TrainConfig(model="scvi")
    for wrong in ({"likelihood": "nb"}, {"model": "scvi", "network": "conv"}, {"layer": "counts"}):
        with pytest.raises(ValueError, match=r"likelihood|network|layer"):
            TrainConfig.of(**wrong)
    with pytest.raises(ValueError, match="dispersion is a setting of nb and zinb"):
        TrainConfig.of(model="scvi", likelihood="poisson", dispersion="gene-cell")
    config = TrainConfig.of(model="scvi", latent=5)
    assert (config.likelihood, config.latent, config.hidden) == ("zinb", 5, 128)
    assert TrainConfig.of() == TrainConfig()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two kinds of cells, told apart by their genes."""
    kind = torch.arange(400) % 2
    rate = torch.where(kind[:, None] == 0, torch.linspace(0, 4, GENES), torch.linspace(4, 0, GENES))
    path = tmp_path / "mine.npz"
    scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(torch.poisson(rate).int().numpy()))
    np.savez(tmp_path / "mine_labels.npz", labels=kind.numpy(), names=np.array(["up", "down"]))
    return path


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "options",
    [
        ["--likelihood", "nb"],
        ["--dispersion", "gene-cell", "--samples", "2"],
        ["--likelihood", "poisson"],
    ],
)
def test_training_and_commands(
    file: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = tmp_path / "run", ["--data", str(file)]
    command = ["train", "--model", "scvi", *data, "--out", str(out), "--epochs", "8", *options]
    assert main([*command, "--lr", "0.01", "--loss", "both", "--no-progress"]) == 0
    assert "cells/s" in capsys.readouterr().out
    found = rows(out)
    assert found[-2]["test_elbo"] > found[0]["test_elbo"] + 1
    assert all(row["train_max_rel_diff"] < 1e-3 for row in found[1::2])
    assert found[0]["cells_per_s"] > 0
    assert {p.name for p in out.iterdir()} == {
        "checkpoint.pt",
        "codes.png",
        "config.json",
        "metrics.jsonl",
    }

    name = tmp_path / "codes"
    assert main(["embed", str(out), *data, "--out", str(name), "--all"]) == 0
    with np.load(f"{name}.npz") as arrays:
        code, labels = torch.from_numpy(arrays["code"]), torch.from_numpy(arrays["labels"])
        assert arrays["names"].tolist() == ["up", "down"]
    assert code.shape == (400, 10)
    # The two kinds lie apart: nearly every cell is nearer to its own kind's mean.
    centres = torch.stack([code[labels == kind].mean(0) for kind in (0, 1)])
    assert (torch.cdist(code, centres).argmin(1) == labels).float().mean() > 0.95
    assert Image.open(f"{name}.png").size == (850, 540)

    assert main(["evaluate", str(out), *data, "--samples", "5", "--out", f"{name}.json"]) == 0
    assert "40 test cells, nats per cell" in capsys.readouterr().out
    assert json.loads(Path(f"{name}.json").read_text())["evaluation"]["cells"] == 40
    for command in ("generate", "walk", "manifold", "anomaly"):
        assert main([command, str(out), *data]) == 1
        assert "is of cells" in capsys.readouterr().err


def test_a_resumed_run_is_the_whole_one(file: Path, tmp_path: Path) -> None:
    command = ["train", "--model", "scvi", "--data", str(file), "--quiet"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*command, "--out", str(whole), "--epochs", "2"]) == 0
    assert main([*command, "--out", str(parts), "--epochs", "1"]) == 0
    assert main([*command, "--out", str(parts), "--epochs", "2", "--resume"]) == 0
    assert rows(whole)[1]["test_elbo"] == rows(parts)[1]["test_elbo"]


def test_only_batches_are_made_dense(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, real = [], Tensor.to_dense

    def to_dense(self: Tensor, *args: Any, **options: Any) -> Tensor:
        sizes.append(len(self))
        return real(self, *args, **options)

    monkeypatch.setattr(Tensor, "to_dense", to_dense)
    data, out = ["--data", str(file)], ["--out", str(tmp_path / "run")]
    assert main(["train", *ONE_EPOCH, *data, *out, "--batch-size", "32"]) == 0
    # 360 cells for training, 40 for testing at once.
    assert sizes and set(sizes) <= {32, 360 % 32, 40}


@pytest.mark.filterwarnings("ignore")  # of anndata, about names
def test_a_covariate_of_anndata(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    observed = pandas.DataFrame({"kind": ["a", "b"] * 30, "run": ["one", "two", "two"] * 20})
    path, out = tmp_path / "cells.h5ad", tmp_path / "run"
    anndata.AnnData(counts().numpy(), obs=observed).write_h5ad(path)
    data = ["--data", str(path)]
    keys = ["--label-key", "kind", "--covariate-key", "run"]
    assert main(["train", *ONE_EPOCH, *data, *keys, "--out", str(out)]) == 0
    stored = torch.load(out / "checkpoint.pt", weights_only=True)
    assert stored["runs"]["fused"]["model"]["encoder.hidden.weight"].shape == (128, GENES + 2)
    name = tmp_path / "codes"
    assert main(["embed", str(out), *data, "--out", str(name), "--label-key", "run"]) == 0
    with np.load(f"{name}.npz") as arrays:
        assert arrays["names"].tolist() == ["one", "two"] and len(arrays["code"]) == 6
