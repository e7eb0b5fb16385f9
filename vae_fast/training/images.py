"""Image data sets as one uint8 tensor: MNIST's IDX files, Frey Face, or scikit-learn's digits.

Every file is checked before it is used. A `DataError` names the file, what was found in it and what
was needed, in one line.
"""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vae_fast.training.data import (
    ENVIRONMENT_VARIABLE,
    HINT,
    DataError,
    DataSet,
    random_split,
)
from vae_fast.training.optional import require

DATASETS = ("mnist", "freyface", "digits")

MNIST_FOLDERS = ("", "mnist", "MNIST/raw", "raw")
MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
FREY_FACE_FILES = ("freyface.npz", "freyface/freyface.npz")
FREY_FACE_TEST = 400  # of 1965, the usual split
DIGITS_TEST = 297  # of 1797


@dataclass(frozen=True)
class ImageData(DataSet):
    """Images in rows, uint8 [N, C*H*W], 0 to 255; of labels, the network may be given them."""

    unit = "image"

    @property
    def given(self) -> Tensor | None:
        """What a conditional network is given of each row."""
        return self.labels


def load(folder: str | Path | None = None, name: str | None = None, split: int = 0) -> ImageData:
    """Load the data set `name` from `folder`, by default the one VAE_FAST_DATA names.

    Without a name: MNIST if the folder has it, else Frey Face; without a folder: the digits that
    scikit-learn ships. `split` is the seed of the division into training and test images, where the
    data set does not come with one (Frey Face, digits).
    """
    if name is not None and name not in DATASETS:
        raise DataError(f"unknown data set {name!r}: needed one of {', '.join(DATASETS)}")
    folder = folder or os.environ.get(ENVIRONMENT_VARIABLE) or None
    if name == "digits" or (name is None and folder is None):
        return _load_digits(split)
    if folder is None:
        raise DataError(f"no folder for the data set {name}: {HINT}")
    root = Path(folder)
    if root.is_file():
        raise DataError(f"{root}: found a file, needed a folder of images; counts are for scvi")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {HINT}")
    mnist = _find_mnist(root)
    frey_face = next((root / f for f in FREY_FACE_FILES if (root / f).is_file()), None)
    if mnist is not None and name in (None, "mnist"):
        return _load_mnist(mnist)
    if frey_face is not None and name in (None, "freyface"):
        return _load_frey_face(frey_face, split)
    wanted = {"mnist": f"{MNIST_FILES[0]}[.gz]", "freyface": FREY_FACE_FILES[0]}
    needed = wanted[name] if name else " or ".join(wanted.values())
    raise DataError(f"{root}: found no data set, needed {needed} there or in a folder below")


def _find_mnist(root: Path) -> Path | None:
    """The folder with any of the four files; which of them are missing is for the loader to say."""
    for folder in (root / name for name in MNIST_FOLDERS):
        if any((folder / f"{file}{end}").is_file() for file in MNIST_FILES for end in ("", ".gz")):
            return folder
    return None


def _load_mnist(folder: Path) -> ImageData:
    train, train_labels, test, test_labels = (
        _read_idx(_mnist_file(folder, f)) for f in MNIST_FILES
    )
    for name, images, labels in (("train", train, train_labels), ("t10k", test, test_labels)):
        if len(images) != len(labels):
            raise DataError(
                f"{folder}: {name} has {len(images)} images and {len(labels)} labels, "
                "needed as many of each"
            )
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"{folder}: train images are {_size(train)}, t10k images are {_size(test)}, "
            "needed the same size"
        )
    count, height, width = train.shape
    return ImageData(
        name="mnist",
        rows=torch.cat((train, test)).flatten(1),
        shape=(1, height, width),
        labels=torch.cat((train_labels, test_labels)).long(),
        train=torch.arange(count),
        test=torch.arange(count, count + len(test)),
    )


def _mnist_file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder / name}[.gz]: no such file, needed all of {', '.join(MNIST_FILES)}")


def _size(images: Tensor) -> str:
    return "x".join(str(n) for n in images.shape[1:])


def _read_idx(path: Path) -> Tensor:
    """An IDX file: magic number (two zero bytes, 8 for uint8, the rank), big-endian sizes, data."""
    rank = 3 if "idx3" in path.name else 1
    content = _read(path)
    header = 4 + 4 * rank
    if len(content) < header:
        raise DataError(f"{path}: found {len(content)} bytes, needed {header} for the header")
    magic, needed = int.from_bytes(content[:4], "big"), 0x800 + rank
    if magic != needed:
        raise DataError(
            f"{path}: found magic number 0x{magic:08x}, needed 0x{needed:08x} (uint8, rank {rank})"
        )
    sizes = [int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4)]
    count = 1
    for size in sizes:
        count *= size
    if count == 0 or len(content) - header != count:
        raise DataError(
            f"{path}: found {len(content) - header} bytes of data, "
            f"needed {' x '.join(map(str, sizes))} = {count} and at least 1"
        )
    # frombuffer shares the memory, so give it some that may be written to.
    return torch.frombuffer(bytearray(content[header:]), dtype=torch.uint8).view(sizes)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: found a damaged gzip file, needed a whole one ({error})"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: found a file that cannot be read ({error.strerror})") from error


def _load_frey_face(path: Path, split: int) -> ImageData:
    np = require("numpy", "numpy", "reading Frey Face")
    try:
        with np.load(path, allow_pickle=False) as archive:
            keys = list(archive.keys())
            array = archive["images"] if "images" in keys else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: found a damaged file, needed an npz archive ({error})") from error
    if array is None:
        raise DataError(f"{path}: found the keys {keys}, needed 'images'")
    if array.dtype != np.uint8 or array.ndim != 3 or len(array) <= FREY_FACE_TEST:
        raise DataError(
            f"{path}: found images of type {array.dtype} and shape {array.shape}, "
            f"needed uint8 and [N, height, width] with N > {FREY_FACE_TEST}"
        )
    images = torch.from_numpy(np.ascontiguousarray(array))
    train, test = random_split(len(images), FREY_FACE_TEST, split)
    shape = (1, images.shape[1], images.shape[2])
    return ImageData("freyface", images.flatten(1), shape, None, train, test)


def _load_digits(split: int) -> ImageData:
    datasets = require("sklearn.datasets", "scikit-learn", "the built-in digits data set")
    digits = datasets.load_digits()
    # The pixels are counts from 0 to 16.
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    train, test = random_split(len(images), DIGITS_TEST, split)
    return ImageData("digits", images.flatten(1), (1, 8, 8), labels, train, test)
