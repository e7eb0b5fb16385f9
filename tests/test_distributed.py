"""Training with two processes on the CPU, started by torchrun: as good as one, and no hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support.torchrun import PROCESSES, torchrun

import vae_fast as vf
from vae_fast.nets import VAE, Architecture
from vae_fast.training import checkpoint

QUICK = ["--dataset", "digits", "--hidden", "32", "--latent", "4", "--no-progress"]


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def alone(*options: str) -> None:
    command = [sys.executable, "-m", "vae_fast", "train", *options]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """A model without noise: every step has the same gradient but for rounding. Of 1500 images, the
    last batch has 21, an odd number."""
    options = [*QUICK, "--model", "ae", "--epochs", "3", "--batch-size", "87"]
    alone(*options, "--out", str(tmp_path / "one"))
    done = torchrun("-m", "vae_fast", "train", *options, "--out", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 3
    for a, b in zip(one, two, strict=True):
        for name in ("train_loss", "test_loss", "test_recon"):
            # Sums of float32 in another order, and Adam, which lets differences grow.
            assert a[name] == pytest.approx(b[name], rel=1e-4), name
    # Only one process prints and writes.
    assert done.stdout.count("results:") == 1 and done.stdout.count("epoch 1/3") == 1
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {"checkpoint.pt", "config.json", "metrics.jsonl", "reconstructions.png"}
    assert json.loads((tmp_path / "two" / "config.json").read_text())["processes"] == PROCESSES


GRADIENTS = """
import sys
import torch
import vae_fast as vf
from vae_fast.training.batches import Batches, generator
from vae_fast.training.build import build
from vae_fast.training.config import TrainConfig
from vae_fast.training.images import load
from vae_fast.training.distributed import world
from vae_fast.training.run import Run

config = TrainConfig(hidden=32, latent=4, batch_size=51)
data = load(None, "digits")

def save(processes):
    run = Run(config, data, "fused", torch.device("cpu"), False, processes)
    batches = Batches.make(
        data.rows[data.train], None, 51, generator(0, "noise"), generator(0, "order"), processes
    )
    batch = next(iter(batches))
    out = run.backward(batch)
    state = {"loss": out.loss.detach(), "seed": batch.seed, "pixels": batch.rows}
    state["gradients"] = {n: p.grad for n, p in run.model.named_parameters()}
    state["model"] = run.model.state_dict()
    torch.save(state, f"{sys.argv[1]}/{processes.rank}.pt")

with world(torch.device("cpu")) as processes:
    save(processes)
"""


def test_gradient_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    """26 and 25 images: each process has noise of its own, an image counts as much as another."""
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    done = torchrun(str(script), str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(PROCESSES))
    assert [len(part["pixels"]) for part in (first, second)] == [26, 25]
    assert first["seed"] != second["seed"]

    model = VAE(Architecture((1, 8, 8), latent=4, hidden=32))
    model.load_state_dict(first["model"])
    pixels = torch.cat((first["pixels"], second["pixels"]))
    mu, logvar = model.posterior(pixels / 255)
    noise = [
        vf.reparameterize(
            torch.zeros(len(part["pixels"]), 4),
            torch.zeros(1).expand(len(part["pixels"]), 4),
            seed=part["seed"],
        )
        for part in (first, second)
    ]
    z = mu + (0.5 * logvar).exp() * torch.cat(noise)
    with vf.backend("reference"):
        vf.vae_loss(model.decode(z), pixels, mu, logvar).backward()
    for name, parameter in model.named_parameters():
        want = parameter.grad
        assert want is not None
        for part in (first, second):
            difference = (part["gradients"][name] - want).abs().max()
            # Sums of 51 * 64 float32 terms at most, in two orders.
            assert difference <= 1e-5 * want.abs().max() + 1e-7, name


def test_other_options_work_there_too(tmp_path: Path) -> None:
    options = ["--precision", "bf16", "--samples", "2", "--model", "cvae", "--network", "conv"]
    command = ["-m", "vae_fast", "train", *QUICK, *options, "--epochs", "1", "--loss", "both"]
    done = torchrun(*command, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "agreement" in done.stdout


@pytest.mark.slow
def test_compiled(tmp_path: Path) -> None:
    command = ["-m", "vae_fast", "train", *QUICK, "--compile", "--epochs", "1"]
    done = torchrun(*command, "--out", str(tmp_path), timeout=300)
    assert done.returncode == 0, done.stderr


def test_resumes_exactly(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train = ["-m", "vae_fast", "train", *QUICK]
    assert torchrun(*train, "--epochs", "2", "--out", str(whole)).returncode == 0
    assert torchrun(*train, "--epochs", "1", "--out", str(parts)).returncode == 0
    done = torchrun(*train, "--epochs", "2", "--out", str(parts), "--resume")
    assert done.returncode == 0, done.stderr
    times = ("seconds", "images_per_s")
    found = [
        [{k: v for k, v in row.items() if k not in times} for row in rows(out)]
        for out in (whole, parts)
    ]
    assert found[0] == found[1]
    states = [checkpoint.load(out / checkpoint.NAME).runs["fused"] for out in (whole, parts)]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name


DYING = """
import os, signal, sys
from vae_fast.cli import main
from vae_fast.training.run import Run

original = Run.backward

def backward(self, batch):
    if self.world.rank == 1 and os.path.exists(sys.argv[-1] + "/metrics.jsonl"):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, batch)

Run.backward = backward
sys.exit(main(sys.argv[1:]))
"""


def test_a_rank_that_dies_ends_the_job(tmp_path: Path) -> None:
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    start = time.monotonic()
    done = torchrun(str(script), "train", *QUICK, "--epochs", "100000", "--out", str(tmp_path))
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr
    assert time.monotonic() - start < 60
    # What was written is whole.
    assert checkpoint.load(tmp_path / checkpoint.NAME).epoch >= 0
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


def test_faults_end_every_process(tmp_path: Path) -> None:
    done = torchrun("-m", "vae_fast", "train", "--data", str(tmp_path / "nowhere"))
    assert done.returncode != 0
    assert "no such folder" in done.stderr
