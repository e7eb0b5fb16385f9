"""Loading data sets: what is read, and a clear error for everything that is not right."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.data import idx, write_mnist

from vae_fast.training.data import DataError
from vae_fast.training.images import load


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "plain"])
@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw"])
def test_idx_files_are_read(tmp_path: Path, folder: str, packed: bool) -> None:
    train, labels, test, test_labels = write_mnist(tmp_path / folder, packed)
    data = load(tmp_path)
    assert (data.name, data.shape, data.features) == ("mnist", (1, 5, 4), 20)
    assert torch.equal(data.rows[data.train], torch.from_numpy(train).flatten(1))
    assert torch.equal(data.rows[data.test], torch.from_numpy(test).flatten(1))
    assert data.labels is not None
    assert data.labels.tolist() == [*labels.tolist(), *test_labels.tolist()]


def test_frey_face_is_split_at_random_but_always_alike(tmp_path: Path) -> None:
    images = np.random.default_rng().integers(0, 256, (450, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "freyface.npz", images=images)
    data, again = load(tmp_path), load(tmp_path, "freyface")
    assert (data.name, data.shape, len(data.train), len(data.test)) == (
        "freyface",
        (1, 4, 3),
        50,
        400,
    )
    assert torch.equal(data.test, again.test)
    assert sorted([*data.train.tolist(), *data.test.tolist()]) == list(range(450))


def test_digits_need_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAE_FAST_DATA", raising=False)
    data = load()
    assert (data.name, data.shape, len(data.rows)) == ("digits", (1, 8, 8), 1797)
    assert data.rows.dtype == torch.uint8 and data.rows.max() == 255


def test_folder_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, packed=False)
    monkeypatch.setenv("VAE_FAST_DATA", str(tmp_path))
    assert load().name == "mnist"
    assert load(None, "digits").name == "digits"


DAMAGES = [
    ("train-images-idx3-ubyte", lambda b: b[:-1], ["139 bytes", "7 x 5 x 4 = 140"]),
    ("train-images-idx3-ubyte", lambda b: b[:9], ["9 bytes", "16 for the header"]),
    ("t10k-labels-idx1-ubyte", lambda b: b"\0\0\x0d" + b[3:], ["0x00000d01", "0x00000801"]),
    ("train-labels-idx1-ubyte", lambda b: idx(np.zeros(6, np.uint8)), ["7 images", "6 labels"]),
    ("t10k-images-idx3-ubyte", lambda b: idx(np.zeros((3, 4, 4), np.uint8)), ["4x4", "5x4"]),
]


@pytest.mark.parametrize(("name", "damage", "words"), DAMAGES)
def test_damaged_idx_file(tmp_path: Path, name: str, damage: object, words: list[str]) -> None:
    write_mnist(tmp_path, packed=False)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path) in message
    for word in words:
        assert word in message


def test_truncated_gzip_missing_file_and_missing_folder(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz.*damaged gzip"):
        load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"train-images.*no such file"):
        load(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="found a file, needed a folder"):
        load(tmp_path / "train-labels-idx1-ubyte.gz")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"found no data set.*freyface\.npz"):
        load(empty)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not an archive", "damaged"),
        ({"faces": np.zeros((450, 4, 3), np.uint8)}, "'faces'"),
        ({"images": np.zeros((450, 4, 3), np.float32)}, "float32"),
        ({"images": np.zeros((40, 4, 3), np.uint8)}, "N > 400"),
    ],
)
def test_damaged_frey_face(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "freyface.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=words):
        load(tmp_path)


@pytest.mark.skipif("VAE_FAST_DATA" not in os.environ, reason="VAE_FAST_DATA is not set")
def test_real_mnist() -> None:
    data = load(None, "mnist")
    assert (data.shape, len(data.train), len(data.test)) == ((1, 28, 28), 60_000, 10_000)
    assert data.rows.float().mean().item() == pytest.approx(33.39, abs=0.1)


def test_splits() -> None:
    """Each has every image once; the seed decides which are for testing."""
    tests = []
    for split in (0, 0, 1):
        digits = load(None, "digits", split)
        both = torch.cat((digits.train, digits.test))
        assert torch.equal(both.sort().values, torch.arange(len(digits.rows)))
        tests.append(digits.test)
    assert torch.equal(tests[0], tests[1]) and not torch.equal(tests[0], tests[2])


def test_without_a_label() -> None:
    digits = load(None, "digits")
    less = digits.without(4)
    assert digits.labels is not None
    for whole, part in ((digits.train, less.train), (digits.test, less.test)):
        kept = set(part.tolist())
        assert kept == {i for i in whole.tolist() if digits.labels[i] != 4}
    with pytest.raises(DataError, match="no image has the label 10"):
        digits.without(10)
    with pytest.raises(DataError, match="has no labels"):
        replace(digits, labels=None).without(1)
