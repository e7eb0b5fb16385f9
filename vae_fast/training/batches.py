"""Shuffling, binarisation and noise of one pass over the images.

Everything random is a pure function of the run's seed, the epoch and what it is for, never of a
generator's state. So a resumed run equals one that never stopped, and two runs with the same seed
see the same batches and the same noise, whatever their loss, device or order of execution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A fresh CPU generator for one purpose of a run."""
    # Hashed, because PyTorch's CPU generator looks at the low 32 bits of its seed alone, and
    # neighbouring seeds should not share anything.
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def binarize(images: Tensor, generator: torch.Generator) -> Tensor:
    """One Bernoulli sample of each pixel: bool, 1 with probability x/255 exactly.

    `images`: uint8 on the CPU. An integer u, uniform on 0..254, is below x in x of 255 cases.
    """
    return torch.randint(0, 255, images.shape, dtype=torch.uint8, generator=generator) < images


def to_input(pixels: Tensor) -> Tensor:
    """What the network reads: float32 in [0, 1], from uint8 0..255 or bool."""
    return pixels.float() if pixels.dtype == torch.bool else pixels / 255


@dataclass(frozen=True)
class Batches:
    """One pass over `images` [N, features] in batches of `size`; the last one may be smaller."""

    images: Tensor  # uint8 or bool
    order: Tensor  # int64 [N]
    seeds: Tensor  # int64, one per batch: the seed of the batch's noise
    size: int

    @classmethod
    def make(
        cls, images: Tensor, size: int, seeds: torch.Generator, shuffle: torch.Generator | None
    ) -> Batches:
        """Draw the order (as stored without `shuffle`) and the noise seeds of one pass."""
        count = len(images)
        order = torch.arange(count) if shuffle is None else torch.randperm(count, generator=shuffle)
        noise = torch.randint(2**63 - 1, (-(-count // size),), generator=seeds)
        return cls(images, order.to(images.device), noise.to(images.device), size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of a batch [B, features] and the seed of its noise [1]."""
        for index, start in enumerate(range(0, len(self.order), self.size)):
            chosen = self.order[start : start + self.size]
            yield self.images[chosen], self.seeds[index : index + 1]
