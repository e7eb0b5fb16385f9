"""What a data set is, whatever it is of."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

ENVIRONMENT_VARIABLE = "VAE_FAST_DATA"
HINT = f"give --data DIR or set {ENVIRONMENT_VARIABLE}"

_Data = TypeVar("_Data", bound="DataSet")


class DataError(ValueError):
    """A data file is missing or is not what it should be."""


@dataclass(frozen=True)
class DataSet(ABC):
    """All rows in one tensor, and which of them are for training and for testing."""

    name: str
    rows: Tensor  # [N, features], see `rows`
    shape: tuple[int, int, int]  # channels, height, width of an image; 1, 1, genes of counts
    labels: Tensor | None  # int64 [N]
    train: Tensor  # int64, indices into rows
    test: Tensor  # int64, indices into rows
    label_names: tuple[str, ...] | None = None
    note: str | None = None  # what a user should know of it

    unit: ClassVar[str]  # what a row is

    @property
    @abstractmethod
    def given(self) -> Tensor | None:
        """What a conditional network is given of each row, int64 [N]."""

    @property
    def features(self) -> int:
        """Numbers of a row."""
        return self.rows.shape[1]

    def without(self: _Data, label: int) -> _Data:
        """The same rows; those of one label are neither for training nor for testing.

        Raises:
            DataError: no labels, or none of this value.
        """
        if self.labels is None:
            raise DataError(f"{self.name}: has no labels, so none can be left out")
        if label not in self.labels:
            raise DataError(f"{self.name}: no {self.unit} has the label {label}")
        kept = [part[self.labels[part] != label] for part in (self.train, self.test)]
        return replace(self, train=kept[0], test=kept[1])

    def summary(self) -> dict[str, str | int | list[int]]:
        """What tells this data set from another one: sizes and a checksum of its numbers."""
        dense = self.rows.layout is torch.strided
        parts = [self.rows] if dense else [self.rows.col_indices(), self.rows.values()]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part.numpy().data, checksum)
        return {
            "name": self.name,
            "shape": list(self.shape),
            f"train_{self.unit}s": len(self.train),
            f"test_{self.unit}s": len(self.test),
            "crc32": checksum,
        }


def random_split(count: int, test: int, seed: int) -> tuple[Tensor, Tensor]:
    """The same random split for the same seed: `count - test` and `test` indices, in order."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[test:].sort().values, order[:test].sort().values
