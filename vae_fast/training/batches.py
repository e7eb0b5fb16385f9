"""Shuffling, binarisation and noise of one pass over a data set.

Everything random is a pure function of the run's seed, the epoch and what it is for, never of a
generator's state. So a resumed run equals one that never stopped, and two runs with the same seed
see the same batches and the same noise, whatever their loss, device or order of execution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vae_fast.training.distributed import World
from vae_fast.training.rows import take


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


class Batch(NamedTuple):
    """What one process has of a batch."""

    rows: Tensor  # [B, features]
    labels: Tensor | None  # int64 [B]
    seed: Tensor  # int64 [1], of the noise
    total: int  # rows of all processes together


@dataclass(frozen=True)
class Batches:
    """One pass over `rows` [N, features] in batches of `size`; the last one may be smaller.

    Everything lies on one device, and a batch is taken from it by index: no loader to wait for.
    Of several processes each takes every `world.size`-th row of a batch, and has its own noise.
    """

    rows: Tensor  # see `rows`
    labels: Tensor | None  # int64 [N]
    order: Tensor  # int64 [N]
    seeds: Tensor  # int64 [batches, processes]
    size: int
    world: World

    @classmethod
    def make(
        cls,
        rows: Tensor,
        labels: Tensor | None,
        size: int,
        seeds: torch.Generator,
        shuffle: torch.Generator | None,
        world: World,
    ) -> Batches:
        """Draw the order and the noise seeds of one pass for training, or without `shuffle` those
        of one for testing: the rows as stored.

        In training each process needs a row of each batch, so a last one of fewer rows than
        processes is left out; a test leaves out none.
        """
        count = len(rows)
        if shuffle is None:
            order = torch.arange(count)
        else:
            order = torch.randperm(count, generator=shuffle)
            rest = count % size
            order = order[: count - rest] if rest < world.size else order
        noise = torch.randint(2**63 - 1, (-(-count // size), world.size), generator=seeds)
        device = rows.device
        return cls(rows, labels, order.to(device), noise.to(device), size, world)

    def __iter__(self) -> Iterator[Batch]:
        for index, start in enumerate(range(0, len(self.order), self.size)):
            chosen = self.order[start : start + self.size]
            mine = chosen[self.world.rank :: self.world.size]
            yield Batch(
                take(self.rows, mine),
                None if self.labels is None else self.labels[mine],
                self.seeds[index, self.world.rank].reshape(1),
                len(chosen),
            )
