"""Evaluation of a trained network: its estimates against what can be computed exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vae_fast.cli import main
from vae_fast.evaluate import importance_log_likelihood
from vae_fast.nets import VAE, Architecture

QUICK = ["--dataset", "digits", "--hidden", "32", "--epochs", "1", "--quiet"]


class Linear(VAE):
    """A linear Gaussian model, whose likelihood is known: x ~ N(0, W W' + I)."""

    def __init__(self, weight: Tensor, gain: float) -> None:
        pixels, latent = weight.shape
        super().__init__(Architecture((1, 1, pixels), latent, 4, likelihood="gaussian"))
        self.weight, self.gain = weight, gain

    def posterior(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        # The exact posterior, or with another gain a wider or narrower one.
        precision = self.weight.T @ self.weight + torch.eye(self.weight.shape[1])
        covariance = torch.linalg.inv(precision)
        mu = x @ self.weight @ covariance
        return mu, (self.gain * covariance.diagonal()).log().expand_as(mu)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return z @ self.weight.T


@pytest.mark.parametrize(("gain", "samples"), [(1.0, 2), (1.5, 4000)])
def test_likelihood_of_a_linear_model(gain: float, samples: int) -> None:
    weight, _ = torch.linalg.qr(torch.randn(6, 3))  # orthogonal: the posterior is diagonal
    pixels = torch.randint(0, 256, (5, 6), dtype=torch.uint8)
    got = importance_log_likelihood(Linear(weight, gain), pixels, samples, seed=7)
    covariance = (weight @ weight.T + torch.eye(6)).double()
    exact = torch.distributions.MultivariateNormal(torch.zeros(6).double(), covariance)
    want = exact.log_prob(pixels.double() / 255)
    # With the exact posterior every weight is p(x) itself; else the estimate's own noise: weights
    # have a variance of (1.5^2 / (2 * 1.5 - 1))^(3/2) - 1 = 0.19 relative to their mean.
    tolerance = 1e-5 if gain == 1.0 else 5 * math.sqrt(0.19 / samples)
    assert (got - want).abs().max() < tolerance


def test_more_samples_give_a_tighter_bound() -> None:
    torch.manual_seed(0)
    model = VAE(Architecture((1, 4, 5), 3, 16))
    pixels = torch.randint(0, 256, (200, 20), dtype=torch.uint8)
    estimates = [importance_log_likelihood(model, pixels, k).mean().item() for k in (1, 10, 100)]
    assert estimates == sorted(estimates)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, report = tmp_path / "run", tmp_path / "evaluation.json"
    assert main(["train", *QUICK, "--out", str(run), "--latent", "3"]) == 0
    command = ["evaluate", str(run), "--samples", "20", "--out", str(report), "--no-progress"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "297 test images" in printed and "K = 20" in printed
    result = json.loads(report.read_text())["evaluation"]
    assert len(result["kl_of_units"]) == 3
    assert sum(result["kl_of_units"]) == pytest.approx(result["kl"], rel=1e-4)
    assert result["elbo"] == pytest.approx(-(result["recon"] + result["kl"]))
    assert -result["nll"] > result["elbo"]  # the bound is below the likelihood
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert result["kl"] == pytest.approx(last["test_kl"], rel=1e-4)
    assert main(["evaluate", str(run / "checkpoint.pt"), "--samples", "0", "--images", "50"]) == 0
    printed = capsys.readouterr().out
    assert "50 test images" in printed and "NLL" not in printed


def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path / "none")]) == 1
    assert "no such checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(tmp_path), "--samples", "-1"])
    assert stop.value.code == 2
    (tmp_path / "checkpoint.pt").write_bytes(b"something else")
    assert main(["evaluate", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "not a checkpoint" in error and error.count("\n") == 2
