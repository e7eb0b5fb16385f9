"""Counts from files, from other packages and drawn: what is read, and what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from vae_fast.training import counts, drawn
from vae_fast.training.counts import Columns, load
from vae_fast.training.data import ENVIRONMENT_VARIABLE, DataError
from vae_fast.training.optional import MissingPackageError
from vae_fast.training.rows import first, in_parts, take, to_input

CELLS, GENES = 30, 7


@pytest.fixture
def matrix() -> Any:
    dense = np.random.default_rng().poisson(0.4, (CELLS, GENES))
    dense[0, 0], dense[3] = 1, 0
    return scipy.sparse.csr_matrix(dense)


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


def dense(data: counts.CountData) -> np.ndarray:
    return data.rows.to_dense().numpy()


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64", "uint8"])
def test_a_matrix_of_scipy(tmp_path: Path, matrix: Any, dtype: str) -> None:
    path = tmp_path / "mine_counts.npz"
    scipy.sparse.save_npz(path, matrix.astype(dtype))
    names = np.array(["a", "b"])
    np.savez(tmp_path / "mine_labels.npz", labels=np.arange(CELLS) % 2, names=names)
    for source in (path, tmp_path):
        data = load(source, split=3)
        assert (dense(data) == matrix.toarray()).all()
        assert data.rows.dtype == torch.int32 and data.rows.layout is torch.sparse_csr
        assert (data.name, data.shape, data.unit) == ("mine_counts", (1, 1, GENES), "cell")
        assert data.labels is not None and data.labels.tolist() == [0, 1] * 15
        assert data.label_names == ("a", "b")
        assert data.given is None and data.note is None
        assert sorted([*data.train.tolist(), *data.test.tolist()]) == list(range(CELLS))
        assert len(data.test) == 3
    assert not torch.equal(load(path, split=4).test, data.test)


def test_labels_that_are_names(tmp_path: Path, matrix: Any) -> None:
    scipy.sparse.save_npz(tmp_path / "mine.npz", matrix)
    np.savez(tmp_path / "mine_labels.npz", labels=np.array(["b", "a"] * 15))
    data = load(tmp_path)
    assert data.labels is not None and data.labels[:2].tolist() == [1, 0]
    assert data.label_names == ("a", "b")


@pytest.mark.parametrize("kind", ["csr", "csc", "dense", "layer"])
@pytest.mark.filterwarnings("ignore")  # of anndata, about names and dtypes
def test_anndata(tmp_path: Path, matrix: Any, kind: str) -> None:
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    kinds = pandas.Categorical(["y", "x"] * 15, categories=["y", "x"])
    observed = pandas.DataFrame({"cell_type": kinds, "run": ["one", "two", "two"] * 10})
    given = {"csr": matrix, "csc": matrix.tocsc(), "dense": matrix.toarray()}.get(kind, matrix / 2)
    data = anndata.AnnData(given.astype(np.float32), obs=observed)
    if kind == "layer":
        data.layers["counts"] = matrix
    path = tmp_path / "cells.h5ad"
    data.write_h5ad(path)
    read = load(path, columns=Columns(covariate="run"))
    assert (dense(read) == matrix.toarray()).all()
    assert read.labels is not None and read.labels.tolist() == [0, 1] * 15
    assert read.label_names == ("y", "x")
    assert read.given is not None and read.given.tolist() == [0, 1, 1] * 10
    other = load(tmp_path, columns=Columns(labels="run"))
    assert other.label_names == ("one", "two") and other.given is None
    layers = "counts" if kind == "layer" else "none"
    for columns, message in (
        (Columns(labels="nothing"), r"no column 'nothing', found cell_type, run"),
        (Columns(covariate="nothing"), "no column 'nothing'"),
        (Columns(layer="nothing"), f"no layer 'nothing', found {layers}"),
    ):
        with pytest.raises(DataError, match=message):
            load(path, columns=columns)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="not AnnData's"):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m - 2 * m, "negative numbers"),
        (lambda m: m / 2, r"found 0\.5, needed counts"),
        (lambda m: m * np.nan, "NaN"),
        (lambda m: m.tocsc(), "found the format b'csc', needed csr"),
        (lambda m: m[:1], "found 1 rows of 7 counts"),
    ],
)
def test_what_is_no_matrix_of_counts(
    tmp_path: Path, matrix: Any, change: Any, message: str
) -> None:
    path = tmp_path / "mine.npz"
    scipy.sparse.save_npz(path, change(matrix))
    with pytest.raises(DataError, match=message):
        load(path)


def test_what_is_no_file_of_counts(tmp_path: Path, matrix: Any) -> None:
    with pytest.raises(DataError, match=r"no such file or folder$"):
        load(tmp_path / "nowhere.npz")
    with pytest.raises(DataError, match="which are pbmc and reuters"):
        load("nowhere")
    with pytest.raises(DataError, match="found no counts"):
        load(tmp_path)
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.zeros(3))
    with pytest.raises(DataError, match="found the keys images"):
        load(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="damaged"):
        load(path)
    scipy.sparse.save_npz(path, matrix)
    with pytest.raises(DataError, match="no columns or layers"):
        load(path, columns=Columns(labels="x"))
    np.savez(tmp_path / "mine_labels.npz", labels=np.zeros(3, int))
    with pytest.raises(DataError, match="found 3 labels of 30 rows"):
        load(path)
    np.savez(tmp_path / "mine_labels.npz", other=np.zeros(3, int))
    with pytest.raises(DataError, match="needed 'labels'"):
        load(path)
    scipy.sparse.save_npz(tmp_path / "other.npz", matrix)
    with pytest.raises(DataError, match=r"found mine.npz, other.npz, needed one of them"):
        load(tmp_path)
    arrays = dict(np.load(tmp_path / "other.npz"))
    arrays["indices"] = arrays["indices"] + GENES
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(DataError, match="not CSR"):
        load(tmp_path / "other.npz")


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if these packages were not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_drawn_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "scanpy", "lda", "lda.datasets")
    for data in (load(), load("pbmc")):
        assert data.name == drawn.NAME and data.shape == (1, 1, 765)
        assert data.note is not None and "drawn from a negative binomial" in data.note
        assert "pip install scanpy" in data.note
    again = load(None, drawn.NAME)
    assert again.summary() == data.summary() and again.note != data.note
    listed = data.rows.values().numel() / data.rows.numel()
    assert 0.2 < listed < 0.45  # of the cells that it was fitted to 0.326
    assert data.labels is not None and data.labels.unique().numel() == 10
    with pytest.raises(MissingPackageError, match=r"needs lda, .*: pip install lda$"):
        load("reuters")
    with pytest.raises(DataError, match="no file for the data set mine"):
        load(None, "mine")


def test_what_other_packages_ship(monkeypatch: pytest.MonkeyPatch, matrix: Any) -> None:
    """In their form: scanpy's cells as log(1 + share), lda's documents dense."""
    pandas = pytest.importorskip("pandas")
    x = matrix.toarray()
    size = x.sum(1) + 5

    class Raw:
        X = scipy.sparse.csr_matrix(np.log1p(x / size[:, None] * 1e4).astype(np.float32))

    class Cells:
        raw = Raw
        obs = pandas.DataFrame({"n_counts": size, "bulk_labels": pandas.Categorical(["T"] * CELLS)})

    scanpy, lda, datasets = (ModuleType(n) for n in ("scanpy", "lda", "lda.datasets"))
    scanpy.datasets = ModuleType("scanpy.datasets")  # type: ignore[attr-defined]
    scanpy.datasets.pbmc68k_reduced = lambda: Cells  # type: ignore[attr-defined]
    datasets.load_reuters = lambda: x  # type: ignore[attr-defined]
    for module in (scanpy, lda, datasets):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("pbmc", "reuters"):
        data = load(name)
        assert (dense(data) == x).all() and data.name == name and data.note is None
    assert load("pbmc").label_names == ("T",)


def test_rows_are_taken_without_the_rest(matrix: Any) -> None:
    x = torch.from_numpy(matrix.toarray()).int()
    rows = x.to_sparse_csr()
    for chosen in ([4, 3, 29, 0], [3], [], list(range(CELLS)), [5, 5]):
        index = torch.tensor(chosen, dtype=torch.int64)
        part = take(rows, index)
        assert torch.equal(part.to_dense(), x[index])
        assert torch.equal(take(x, index), x[index])
        torch.sparse_csr_tensor(
            part.crow_indices(),
            part.col_indices(),
            part.values(),
            part.shape,
            check_invariants=True,
        )
    assert torch.equal(to_input(rows), x.float())
    assert torch.equal(first(rows, 4).to_dense(), x[:4]) and len(first(rows, 100)) == CELLS
    labels = torch.arange(CELLS)
    (part, of_part), *rest = in_parts(rows, labels)
    assert not rest and torch.equal(part.to_dense(), x) and torch.equal(of_part, labels)


REAL = os.environ.get(ENVIRONMENT_VARIABLE)


@pytest.mark.skipif(not REAL, reason=f"{ENVIRONMENT_VARIABLE} names no folder with real counts")
@pytest.mark.parametrize(("name", "shape"), [("pbmc", (700, 765)), ("reuters", (395, 4258))])
def test_real_counts(name: str, shape: tuple[int, int]) -> None:
    if not (Path(REAL or "") / name).is_dir():
        pytest.skip(f"the folder has no {name}")
    data = load(REAL, name)
    assert tuple(data.rows.shape) == shape and data.name == name
