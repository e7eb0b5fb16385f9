"""Batches: every image once, shared among processes, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from vae_fast.training.batches import Batch, Batches, generator
from vae_fast.training.distributed import World


def passes(count: int, size: int, processes: int, shuffle: bool = True) -> list[list[Batch]]:
    """The batches of each process; an image is its number, and so is its label."""
    images = torch.arange(count)[:, None]
    found = []
    for rank in range(processes):
        order = generator(1, "order") if shuffle else None
        world = World(rank, processes)
        batches = Batches.make(images, images[:, 0], size, generator(1, "noise"), order, world)
        found.append(list(batches))
    return found


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [True, False], ids=["train", "test"])
def test_every_image_once(processes: int, shuffle: bool) -> None:
    found = passes(50, 12, processes, shuffle)
    assert len({len(batches) for batches in found}) == 1
    # The last batch has 2 images: too few for three processes to train with.
    kept = 48 if shuffle and processes == 3 else 50
    seen = torch.cat([batch.rows for batches in found for batch in batches]).flatten()
    assert len(seen) == kept and len(seen.unique()) == kept
    for parts in zip(*found, strict=True):
        assert sum(len(part.rows) for part in parts) == parts[0].total
        assert len({int(part.seed) for part in parts}) == processes
        assert max(len(p.rows) for p in parts) - min(len(p.rows) for p in parts) <= 1
        if shuffle:
            assert all(len(part.rows) for part in parts)
        for part in parts:
            assert torch.equal(part.rows[:, 0], part.labels)


def test_a_batch_is_the_same_for_any_number_of_processes() -> None:
    (one,) = passes(50, 12, 1)
    for parts, whole in zip(zip(*passes(50, 12, 2), strict=True), one, strict=True):
        both = torch.cat([part.rows for part in parts]).flatten()
        assert torch.equal(both.sort().values, whole.rows.flatten().sort().values)


def test_order_is_the_seeds() -> None:
    first, again = (passes(50, 12, 1)[0] for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.rows, b.rows) and torch.equal(a.seed, b.seed)
    stored = torch.cat([batch.rows for batch in passes(50, 12, 1, shuffle=False)[0]])
    assert torch.equal(stored.flatten(), torch.arange(50))
