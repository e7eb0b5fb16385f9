"""The command line: what it prints, and one clear line and an exit status for every fault."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from vae_fast import info
from vae_fast.cli import main
from vae_fast.likelihoods import LIKELIHOODS
from vae_fast.ops import extension
from vae_fast.triton import registration as triton

QUICK = ["--dataset", "digits", "--hidden", "32", "--no-progress"]


def test_train_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", *QUICK, *out, "--epochs", "1", "--loss", "both", "--latent", "2"]) == 0
    printed = capsys.readouterr().out
    for word in ("fused", "reference", "agreement", "images/s", "results:"):
        assert word in printed
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {
        "checkpoint.pt",
        "config.json",
        "manifold.png",
        "metrics.jsonl",
        "reconstructions.png",
        "samples.png",
    }
    assert main(["train", *out, "--resume", "--epochs", "2", "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert "epoch 2/2" in printed and "epoch 1/2" not in printed


@pytest.mark.parametrize(
    "options",
    [
        ["--precision", "bf16"],
        ["--binarize"],
        ["--likelihood", "gaussian"],
        pytest.param(["--compile"], marks=pytest.mark.slow),
    ],
    ids=lambda o: o[0].strip("-"),
)
def test_options(tmp_path: Path, options: list[str]) -> None:
    command = ["train", *QUICK, "--out", str(tmp_path), "--epochs", "1", "--quiet", *options]
    assert main(command) == 0


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert torch.__version__ in capsys.readouterr().out


def test_info_says_what_serves_which_likelihood_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(extension, "cuda_missing", "")
    monkeypatch.setattr(triton, "missing", lambda: "")
    table = {line.split()[0]: line.split()[1:] for line in info.lines() if line.startswith("  ")}
    assert table["bernoulli"] == ["cpu", "cuda"]
    assert table["negative_binomial"] == ["cpu", "triton"]
    assert set(LIKELIHOODS) <= set(table)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epochs", "0"], ["--epochs", "at least 1"]),
        (["--epochs", "many"], ["--epochs", "many"]),
        (["--beta", "nan"], ["--beta", "nan"]),
        (["--lr", "-1"], ["--lr", "-1"]),
        (["--likelihood", "poisson"], ["--likelihood", "poisson", "bernoulli"]),
        (["--binarize", "--likelihood", "gaussian"], ["--binarize", "bernoulli"]),
        (["--model", "gan"], ["--model", "gan", "flow-vae"]),
        (["--flow", "planar"], ["--flow", "flow-vae", "vae"]),
        (["--categories", "1", "--model", "categorical-vae"], ["--categories", "at least 2"]),
        (["--corruption-level", "1.5", "--model", "denoising-ae"], ["--corruption-level", "1.5"]),
        (["--samples", "2", "--model", "ae"], ["--samples", "ae"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_bad_options(
    options: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", *options])
    assert caught.value.code == 2
    _check_line(capsys.readouterr().err, words)


def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = str(tmp_path / "nowhere")
    blocked = tmp_path / "file"
    blocked.write_text("")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "checkpoint.pt").write_bytes(b"damaged")
    for options, words in (
        (["--data", nowhere], [nowhere, "no such folder"]),
        ([*QUICK, "--out", str(blocked / "run")], [str(blocked), "Not a directory"]),
        ([*QUICK, "--out", nowhere, "--resume"], ["checkpoint.pt", "no such checkpoint"]),
        ([*QUICK, "--out", str(damaged), "--resume"], ["checkpoint.pt", "damaged"]),
        ([*QUICK, "--out", nowhere, "--device", "nonsense"], ["nonsense", "cannot be used"]),
        ([*QUICK, "--out", nowhere, "--without-label", "12"], ["no image has the label 12"]),
    ):
        assert main(["train", *options]) == 1
        _check_line(capsys.readouterr().err, words)


def test_missing_optional_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["train", *QUICK, "--out", str(tmp_path)]) == 1
    _check_line(capsys.readouterr().err, ["matplotlib", "vae_fast[train]"])


def _check_line(text: str, words: list[str]) -> None:
    assert text.startswith("vae-fast: error: ")
    assert text.count("\n") == 1 and text.endswith("\n"), text
    for word in words:
        assert word in text


def test_ctrl_c_ends_with_130_and_a_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vae_fast", "train", *QUICK, "--out", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--epochs", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell runs in the background starts its children with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    metrics = tmp_path / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.startswith("vae-fast: interrupted") and error.count("\n") == 1
    assert (tmp_path / "checkpoint.pt").exists()
    assert [n for n in os.listdir(tmp_path) if n.endswith(".tmp")] == []


def test_help() -> None:
    code = (
        "import sys\n"
        "from vae_fast.cli import main\n"
        "try:\n    main(['train', '--help'])\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--likelihood" in done.stdout
