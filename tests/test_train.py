"""Training: it learns, both losses agree, runs resume exactly, and nothing is lost on a fault."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from vae_fast.train import CHECKPOINT, Training, resumed_config
from vae_fast.training import checkpoint, images
from vae_fast.training.checkpoint import CheckpointError
from vae_fast.training.config import TrainConfig
from vae_fast.training.files import atomic_file, write_json
from vae_fast.training.run import Run


def train(out: Path, resume: bool = False, **settings: Any) -> list[dict[str, Any]]:
    """Trains on the digits and returns the rows of metrics.jsonl."""
    settings = {"hidden": 64, "latent": 3, "epochs": 2} | settings
    stored = checkpoint.load(out / CHECKPOINT) if resume else None
    config = resumed_config(out, stored.config, settings) if stored else TrainConfig(**settings)
    Training(config, images.load(None, "digits"), out, resume=stored).fit(lambda line: None)
    return rows(out)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def without_times(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_s")} for r in found]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_loss_falls_and_parts_add_up(tmp_path: Path, likelihood: str) -> None:
    found = train(tmp_path, likelihood=likelihood, epochs=3, beta=0.5)
    losses = [r["test_loss"] for r in found]
    assert losses[2] < losses[0]
    for row in found:
        parts = row["test_recon"] + 0.5 * row["test_kl"]
        assert row["test_loss"] == pytest.approx(parts, rel=1e-6)
        assert row["test_elbo"] == pytest.approx(-row["test_recon"] - row["test_kl"], rel=1e-12)
        assert row["images_per_s"] > 0


def test_both_losses_agree(tmp_path: Path) -> None:
    found = train(tmp_path, loss="both", epochs=2)
    assert [r["loss_backend"] for r in found] == ["fused", "reference"] * 2
    for row in found[1::2]:
        # The first steps differ by float32 rounding, and Adam lets differences grow with the steps.
        assert row["train_max_rel_diff"] < 1e-3
        assert row["test_max_rel_diff"] < 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"binarize": True},
        {"model": "cvae", "samples": 2},
        {"model": "flow-vae", "precision": "bf16"},
        {"model": "categorical-vae"},
        {"model": "denoising-ae", "corruption": "dropout"},
        {"model": "sparse-ae", "network": "conv", "likelihood": "gaussian-shared"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())) or "vae",
)
def test_resumed_run_equals_one_that_never_stopped(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    whole = train(tmp_path / "whole", epochs=3, **settings)
    train(tmp_path / "parts", epochs=1, **settings)
    parts = train(tmp_path / "parts", resume=True, epochs=3)
    assert without_times(parts) == without_times(whole)
    states = [checkpoint.load(tmp_path / n / CHECKPOINT).runs["fused"] for n in ("whole", "parts")]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name
    moments = [state["optimizer"]["state"] for state in states]
    for index, moment in moments[0].items():
        for name, value in moment.items():
            assert torch.equal(value, moments[1][index][name]), (index, name)


def test_ctrl_c_leaves_a_usable_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = []
    original = Run.train_epoch

    def interrupted(self: Any, *args: Any) -> Any:
        epochs.append(1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(Run, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt, match="has epoch 2"):
        train(tmp_path, epochs=4)
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / CHECKPOINT).epoch == 2
    assert len(rows(tmp_path)) == 2
    finished = train(tmp_path, resume=True, epochs=4)
    assert [r["epoch"] for r in finished] == [1, 2, 3, 4]


def test_pictures(tmp_path: Path) -> None:
    train(tmp_path, latent=2, epochs=1)
    for name in ("reconstructions", "samples", "manifold"):
        picture = imread(tmp_path / f"{name}.png")
        assert min(picture.shape[:2]) > 100
        assert picture[..., :3].std() > 0.05, f"{name} is blank"
    train(tmp_path / "three", latent=3, epochs=1)
    assert not (tmp_path / "three" / "manifold.png").exists()


def test_description_names_no_machine_or_folder(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    text = (tmp_path / "config.json").read_text()
    assert os.uname().nodename not in text
    assert str(tmp_path) not in text
    assert {"config", "data", "machine", "versions"} <= json.loads(text).keys()


def test_diverged_training_is_an_error(tmp_path: Path) -> None:
    from vae_fast.train import TrainError

    with pytest.raises(TrainError, match="not finite in epoch"):
        train(tmp_path, lr=1e30, epochs=3)


class FullDisk:
    """Makes every fsync fail as on a full disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value.json"
    write_json(path, 1)
    FullDisk(monkeypatch)
    with pytest.raises(OSError, match="No space left") as caught:
        write_json(path, 2)
    assert caught.value.filename == str(path)
    assert json.loads(path.read_text()) == 1
    assert os.listdir(tmp_path) == ["value.json"], "a temporary file is left"


def test_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["value"]


def test_signals_at_any_moment_of_a_write_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "value"

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGPROF, stop)
    try:
        for attempt in range(300):
            with pytest.raises(KeyboardInterrupt):
                # Of the time this process runs, so a busy machine changes nothing.
                signal.setitimer(signal.ITIMER_PROF, 0.001)
                while True:
                    with atomic_file(path) as file:
                        file.write(b"whole")
            assert set(os.listdir(tmp_path)) <= {"value"}, attempt
            assert not path.exists() or path.read_bytes() == b"whole"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    train(tmp_path, epochs=1)
    return tmp_path / CHECKPOINT


def test_damaged_checkpoint(trained: Path) -> None:
    content = trained.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"x" + content[1:]):
        trained.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load(trained)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    trained.write_bytes(flipped)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(trained)


def test_foreign_and_missing_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="found the format None"):
        checkpoint.load(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "nothing.pt")


def test_checkpoint_with_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"format": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_checkpoint_of_other_settings_or_data(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="made with latent 3, got 5"):
        train(tmp_path, resume=True, latent=5)
    faces = np.zeros((450, 8, 8), np.uint8)
    np.savez(tmp_path / "freyface.npz", images=faces)
    stored = checkpoint.load(trained)
    config = TrainConfig(**stored.config)
    with pytest.raises(CheckpointError, match="other data"):
        Training(config, images.load(tmp_path, "freyface"), tmp_path, resume=stored)


@pytest.mark.slow
@pytest.mark.skipif("VAE_FAST_DATA" not in os.environ, reason="VAE_FAST_DATA is not set")
def test_first_epoch_of_mnist(tmp_path: Path) -> None:
    config = TrainConfig(epochs=1)
    Training(config, images.load(None, "mnist"), tmp_path).fit(lambda line: None)
    # Public runs of this network give 127.0 to 127.5; seeds differ by about half a nat.
    assert 126 < rows(tmp_path)[0]["test_loss"] < 128.5
