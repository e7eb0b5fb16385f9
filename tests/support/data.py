"""Made-up data sets in the files of the real ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

MNIST = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in the IDX format."""
    header = (0x800 + array.ndim).to_bytes(4, "big")
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + sizes + array.tobytes()


def write_mnist(
    folder: Path,
    packed: bool,
    train: int = 7,
    test: int = 3,
    size: tuple[int, int] = (5, 4),
    largest_label: int = 255,
) -> list[np.ndarray]:
    """Random images and labels; returns them in the order of the files."""
    generator = np.random.default_rng()
    folder.mkdir(parents=True, exist_ok=True)
    arrays = []
    for name, count in zip(MNIST, (train, train, test, test), strict=True):
        images = "images" in name
        shape, end = ((count, *size), 256) if images else ((count,), largest_label + 1)
        arrays.append(generator.integers(0, end, shape, dtype=np.uint8))
        path = folder / f"{name}-ubyte{'.gz' if packed else ''}"
        content = idx(arrays[-1])
        path.write_bytes(gzip.compress(content) if packed else content)
    return arrays
