"""Cells drawn from negative binomials that were fitted to real ones (scripts/fit_cells.py): counts
to train on where there are none."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NAME = "drawn-cells"
FILE = "cells.npz"
CELLS, SEED = 2000, 0


class Cells(NamedTuple):
    """Counts as the three parts of a CSR matrix, and the kind of each cell."""

    rows: tuple[Any, Any, Any]  # starts, columns, values
    shape: tuple[int, int]
    labels: Any  # int64 [cells]
    label_names: tuple[str, ...]


@cache
def draw() -> Cells:
    """The same cells in every call."""
    with np.load(Path(__file__).with_name(FILE), allow_pickle=False) as archive:
        fitted = {key: archive[key] for key in archive}
    random = np.random.default_rng(SEED)
    frequencies = fitted["frequencies"].astype(np.float64)
    labels = random.choice(len(frequencies), CELLS, p=frequencies / frequencies.sum())
    location, spread = fitted["log_library"].astype(np.float64).T
    library = np.exp(location[labels] + spread[labels] * random.standard_normal(CELLS))
    theta = np.exp(fitted["log_theta"].astype(np.float64))
    mean = library[:, None] * np.exp(fitted["log_shares"].astype(np.float64))[labels]
    # A negative binomial is a Poisson distribution whose rate follows a Gamma distribution.
    counts = random.poisson(random.gamma(theta, mean / theta)).astype(np.int32)
    starts = np.concatenate(([0], np.count_nonzero(counts, 1).cumsum()))
    columns = np.ascontiguousarray(np.nonzero(counts)[1])
    return Cells(
        (starts, columns, counts[counts != 0]),
        (CELLS, len(theta)),
        labels.astype(np.int64),
        tuple(fitted["names"].tolist()),
    )
