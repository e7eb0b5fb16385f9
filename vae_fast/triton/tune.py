"""How the work of a kernel is cut into tiles and programs.

A function of kernel, shape and dtype alone, never of the GPU, because the cut decides the order of
every sum: the same input gives the same bits on every GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import NamedTuple

import torch

VARIABLE = "VAE_FAST_AUTOTUNE"
Key = tuple[str, bool, int]  # kernel, whether the call is large, bytes of an element


class Config(NamedTuple):
    """Elements of a tile (a power of two) and the warps that share it."""

    elements: int
    warps: int


class Cut(NamedTuple):
    """[rows, cols] in tiles, and the programs over them.

    Attributes:
        rows: of a tile, a power of two.
        cols: of a tile, a power of two.
        tiles: side by side in one program.
        chunks: programs side by side in a row.
        units: programs in all.
    """

    rows: int
    cols: int
    tiles: int
    chunks: int
    units: int


# 16 bytes a thread for every operand of full width, which needs the fewest registers. Chosen from
# compiled code; no entry was timed on a GPU yet.
_LARGE = 1 << 20
_TABLE: dict[Key, Config] = {
    ("likelihood", False, 2): Config(1024, 4),
    ("likelihood", False, 4): Config(512, 4),
    ("likelihood", False, 8): Config(256, 4),
    ("likelihood", True, 2): Config(1024, 4),
    ("likelihood", True, 4): Config(512, 4),
    ("likelihood", True, 8): Config(256, 4),
    ("latent", False, 2): Config(512, 4),
    ("latent", False, 4): Config(512, 4),
    ("latent", False, 8): Config(256, 4),
    ("latent", True, 2): Config(1024, 4),
    ("latent", True, 4): Config(512, 4),
    ("latent", True, 8): Config(256, 4),
}
LONGEST = 16  # tiles of a program: as many terms are added in the arithmetic's dtype
LARGEST_SUM = 1024  # partial sums that the last program adds at once
_PROGRAMS = 1024  # several for each multiprocessor of the largest GPU, before programs get longer


_forced: Config | None = None
_measured: Callable[[Key, torch.device], Config] | None = None


def measure_by(best: Callable[[Key, torch.device], Config]) -> None:
    """From now on what is fastest on a GPU is looked up there instead of in the table."""
    global _measured
    _measured = best


def config(kernel: str, elements: int, dtype: torch.dtype, device: torch.device) -> Config:
    """The table's entry for a kernel, "likelihood" or "latent"; or the fastest here, if asked for.

    Nothing is measured while a CUDA graph is captured.
    """
    if _forced is not None:
        return _forced
    key = (kernel, elements >= _LARGE, dtype.itemsize)
    if (
        _measured is not None
        and device.type == "cuda"
        and not torch.cuda.is_current_stream_capturing()
    ):
        return _measured(key, device)
    return _TABLE[key]


@cache
def asked_to_measure() -> bool:
    """Whether VAE_FAST_AUTOTUNE asks for it; raises ValueError for another value than 0 and 1."""
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "0", "1"):
        raise ValueError(f"{VARIABLE}={value}: expected 0 or 1")
    return value == "1"


@contextmanager
def forced(config: Config) -> Iterator[None]:
    """Every call inside is cut so."""
    global _forced
    before, _forced = _forced, config
    try:
        yield
    finally:
        _forced = before


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n and 1."""
    return 1 << max(n - 1, 0).bit_length()


@lru_cache(1024)
def cut(rows: int, cols: int, elements: int, longest: int = 1, narrowest: int = 1) -> Cut:
    """Cuts [rows, cols] into tiles of at most `elements`.

    Args:
        rows: of the operands.
        cols: of the operands.
        elements: of a tile, a power of two.
        longest: tiles of a program, at most.
        narrowest: columns of a tile, at least.
    """
    tile_cols = min(max(power_of_two(cols), narrowest), elements)
    tile_rows = min(power_of_two(rows), elements // tile_cols)
    across = max(-(-cols // tile_cols), 1)
    blocks = max(-(-rows // tile_rows), 1)
    tiles = 1
    while 2 * tiles <= min(longest, across) and blocks * across >= 2 * tiles * _PROGRAMS:
        tiles *= 2
    chunks = -(-across // tiles)
    return Cut(tile_rows, tile_cols, tiles, chunks, blocks * chunks)


def sum_shape(terms: int) -> tuple[int, int]:
    """Rows and columns of the tile in which the last program adds sums of `terms` partial sums.

    A few classes, so that another batch size rarely means another compilation.
    """
    cols = 1 if terms == 1 else 32 if terms <= 32 else LARGEST_SUM
    return LARGEST_SUM // cols, cols


def alignment(*sizes: int) -> int:
    """The largest power of two up to 16 that divides all sizes."""
    common = 16
    for size in sizes:
        common |= size
    return common & -common
