"""Counts as one sparse matrix: SciPy's `save_npz`, AnnData, or two sets that other packages ship.

Every file is checked before it is used, see `images`. Without any, counts are drawn from a fitted
model (`drawn`).
"""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_fast.training import drawn
from vae_fast.training.data import ENVIRONMENT_VARIABLE, DataError, DataSet, random_split
from vae_fast.training.optional import MissingPackageError, require

DATASETS = ("pbmc", "reuters")
PACKAGES = {"pbmc": "scanpy", "reuters": "lda"}
SPARSE_KEYS = {"data", "indices", "indptr", "shape", "format"}  # of scipy.sparse.save_npz
# Columns of AnnData's observations that are taken for labels, the first one found.
LABEL_COLUMNS = ("cell_type", "celltype", "cell_types", "bulk_labels", "louvain", "leiden")
TEST = 0.1  # of the rows


@dataclass(frozen=True)
class CountData(DataSet):
    """Counts in rows, int32 `torch.sparse_csr` [N, genes]."""

    covariate: Tensor | None = None  # int64 [N], the experiment that a cell is of

    unit = "cell"

    @property
    def given(self) -> Tensor | None:
        """What the network is given of each row beside its counts."""
        return self.covariate


class Columns(NamedTuple):
    """Where AnnData has what: columns of its observations, and the layer of the counts."""

    labels: str | None = None
    covariate: str | None = None
    layer: str | None = None


class Read(NamedTuple):
    """What a file holds: the parts of a CSR matrix, and the rows' labels and covariates."""

    starts: Any
    columns: Any
    values: Any
    shape: tuple[int, int]
    labels: Any = None  # whole numbers
    label_names: tuple[str, ...] | None = None
    covariate: Any = None  # whole numbers


def load(
    source: str | Path | None = None,
    name: str | None = None,
    split: int = 0,
    columns: Columns | None = None,
) -> CountData:
    """Load counts.

    Args:
        source: a file of SciPy's `save_npz` or of AnnData, a folder with one, or "pbmc" or
            "reuters", which the packages scanpy and lda ship; by default the folder that
            VAE_FAST_DATA names. Labels of ``X.npz`` or ``X_counts.npz`` are read from
            ``X_labels.npz`` beside it.
        name: which data set of a folder, where there is more than one.
        split: the seed of the division into training and test rows.
        columns: of AnnData.

    Returns:
        The counts; without any source, or for "pbmc" where scanpy is not installed, drawn ones.

    Raises:
        DataError: no such file, or none that holds counts.
        MissingPackageError: the file or the data set needs a package.
    """
    columns = columns or Columns()
    source = source or os.environ.get(ENVIRONMENT_VARIABLE) or None
    path = None if source is None else Path(source)
    if path is None or (str(source) in DATASETS and not path.exists()):
        return _shipped(str(source or name or "pbmc"), split)
    if not path.exists():
        known = " and no data set, which are pbmc and reuters"
        raise DataError(f"{path}: no such file or folder{known if path.parent == Path() else ''}")
    file = path if path.is_file() else _find(path, name)
    read = _read_anndata(file, columns) if file.suffix == ".h5ad" else _read_npz(file, columns)
    known_name = next((n for n in DATASETS if file.stem.startswith(n)), None)
    return _of(known_name or file.stem, str(file), read, split)


def _of(name: str, source: str, read: Read, split: int, note: str | None = None) -> CountData:
    """The checked matrix."""
    cells, genes = read.shape
    if cells < 2 or genes < 1:
        raise DataError(f"{source}: found {cells} rows of {genes} counts, needed at least 2 of 1")
    values = np.asarray(read.values)
    if not (values.size == 0 or (np.isfinite(values).all() and values.min() >= 0)):
        raise DataError(f"{source}: found negative numbers, NaN or infinity, needed counts")
    whole = values.astype(np.int32)
    if (whole != values).any():
        raise DataError(
            f"{source}: found {values[whole != values][0]:g}, needed counts, which are whole"
            " (of AnnData another --layer, or raw, may have them)"
        )
    starts, columns = (np.asarray(part, np.int64) for part in (read.starts, read.columns))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse (CSR|invariant)")  # news about them
            rows = torch.sparse_csr_tensor(
                torch.from_numpy(starts),
                torch.from_numpy(columns),
                torch.from_numpy(whole),
                read.shape,
                check_invariants=True,
            )
    except RuntimeError as error:
        raise DataError(f"{source}: found a matrix that is not CSR ({error})") from error
    labels = _numbers(source, "labels", read.labels, cells)
    covariate = _numbers(source, "covariates", read.covariate, cells)
    train, test = random_split(cells, max(1, round(TEST * cells)), split)
    return CountData(
        name,
        rows,
        (1, 1, genes),
        labels,
        train,
        test,
        covariate=covariate,
        label_names=read.label_names,
        note=note,
    )


def _numbers(source: str, kind: str, column: Any, cells: int) -> Tensor | None:
    if column is None:
        return None
    if len(column) != cells:
        raise DataError(f"{source}: found {len(column)} {kind} of {cells} rows, needed as many")
    return torch.from_numpy(np.asarray(column, np.int64))


def _find(folder: Path, name: str | None) -> Path:
    """The one file with counts in a folder, or in one of the data sets' below it."""
    names = [name] if name else ["", *DATASETS]
    folders = [folder / part for part in names if (folder / part).is_dir()]
    if name:  # the folder itself may be that of the data set
        folders.append(folder)
    for place in folders:
        files = [f for f in sorted(place.iterdir()) if f.suffix == ".h5ad" or _is_sparse(f)]
        if name and place == folder and len(files) > 1:
            files = [f for f in files if f.stem.startswith(name)]
        if len(files) > 1:
            found = ", ".join(f.name for f in files)
            raise DataError(f"{place}: found {found}, needed one of them: give --data FILE")
        if files:
            return files[0]
    kinds = "a file of SciPy's save_npz or an .h5ad"
    raise DataError(f"{folder}: found no counts, needed {kinds} there or in pbmc or reuters below")


def _is_sparse(path: Path) -> bool:
    if path.suffix != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()} >= SPARSE_KEYS


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive}
    except OSError as error:
        raise DataError(f"{path}: found a file that cannot be read ({error})") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: found a damaged file, needed an npz archive ({error})") from error


def _read_npz(path: Path, columns: Columns) -> Read:
    """As `scipy.sparse.save_npz` writes a CSR matrix."""
    if any(columns):
        raise DataError(f"{path}: has no columns or layers, which are AnnData's")
    arrays = _arrays(path)
    if not arrays.keys() >= SPARSE_KEYS:
        needed = "needed those of scipy.sparse.save_npz"
        raise DataError(f"{path}: found the keys {', '.join(arrays)}, {needed}")
    kind = arrays["format"].item()
    if kind not in (b"csr", "csr"):
        raise DataError(f"{path}: found the format {kind!r}, needed csr (scipy: tocsr)")
    cells, genes = arrays["shape"].tolist()
    read = Read(arrays["indptr"], arrays["indices"], arrays["data"], (cells, genes))
    stem = path.stem.removesuffix("_counts")
    beside = path.with_name(f"{stem}_labels.npz")
    if not beside.is_file():
        return read
    labels = _arrays(beside)
    if "labels" not in labels:
        raise DataError(f"{beside}: found the keys {', '.join(labels)}, needed 'labels'")
    if "names" in labels:
        return read._replace(labels=labels["labels"], label_names=tuple(labels["names"].tolist()))
    codes, names = _coded(labels["labels"])
    return read._replace(labels=codes, label_names=names)


def _coded(column: Any) -> tuple[Any, tuple[str, ...]]:
    """A column of any kind as numbers of its values, in their order or that of its categories."""
    categories = getattr(column, "cat", None)
    if categories is not None and (categories.codes >= 0).all():
        return categories.codes, tuple(map(str, categories.categories))
    names, codes = np.unique(np.asarray(column).astype(str), return_inverse=True)
    return codes, tuple(names.tolist())


def _read_anndata(path: Path, columns: Columns) -> Read:
    anndata = require("anndata", "anndata", f"reading {path}", "cells")
    try:
        data = anndata.read_h5ad(path)
    except OSError as error:
        raise DataError(f"{path}: found a file that is not AnnData's ({error})") from error
    layer = columns.layer or ("counts" if "counts" in data.layers else None)
    if layer is not None and layer not in data.layers:
        found = ", ".join(data.layers) or "none"
        raise DataError(f"{path}: has no layer {layer!r}, found {found}")
    matrix = data.X if layer is None else data.layers[layer]
    labels = columns.labels or next((c for c in LABEL_COLUMNS if c in data.obs), None)
    codes, names = (None, None) if labels is None else _coded(_column(path, data, labels))
    covariate = None
    if columns.covariate is not None:
        covariate, _ = _coded(_column(path, data, columns.covariate))
    return _compressed(matrix)._replace(labels=codes, label_names=names, covariate=covariate)


def _column(path: Path, data: Any, name: str) -> Any:
    if name not in data.obs:
        raise DataError(f"{path}: has no column {name!r}, found {', '.join(data.obs)}")
    return data.obs[name]


def _compressed(matrix: Any) -> Read:
    """Of a dense or a sparse matrix, of what kind ever."""
    sparse = require("scipy.sparse", "scipy", "reading counts", "cells").csr_matrix(matrix)
    sparse.sum_duplicates()  # sorts, too
    return Read(sparse.indptr, sparse.indices, sparse.data, sparse.shape)


def _shipped(name: str, split: int) -> CountData:
    """A data set that another package ships, or drawn cells."""
    readers: dict[str, Callable[[], Read]] = {"pbmc": _read_scanpy, "reuters": _read_lda}
    if name == drawn.NAME:
        return _drawn(split, "")
    if name not in readers:
        raise DataError(f"no file for the data set {name}: give --data FILE")
    try:
        return _of(name, PACKAGES[name], readers[name](), split)
    except MissingPackageError:
        if name != "pbmc":
            raise
        return _drawn(split, "; pip install scanpy for the real ones, or give --data FILE")


def _drawn(split: int, hint: str) -> CountData:
    cells = drawn.draw()
    note = f"counts drawn from a negative binomial fitted to blood cells (pbmc){hint}"
    names = cells.label_names
    starts, columns, values = cells.rows
    read = Read(starts, columns, values, cells.shape, cells.labels, names)
    return _of(drawn.NAME, drawn.NAME, read, split, note)


def _read_scanpy() -> Read:
    """10x Genomics' 68k blood cells, a part of them, which scanpy ships as log(1 + x / n * 10^4) of
    counts x with n in a cell: turned back into x."""
    scanpy = require("scanpy", "scanpy", "the data set pbmc", None)
    data = scanpy.datasets.pbmc68k_reduced()
    share = np.expm1(data.raw.X.toarray().astype(np.float64))
    counts = np.rint(share * data.obs["n_counts"].to_numpy()[:, None] / 1e4)
    codes, names = _coded(data.obs["bulk_labels"])
    return _compressed(counts)._replace(labels=codes, label_names=names)


def _read_lda() -> Read:
    """Words of news by Reuters."""
    datasets = require("lda.datasets", "lda", "the data set reuters", None)
    return _compressed(datasets.load_reuters())
