"""Files that are either old or new, never half: written beside the target, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the place of `path` when the block ends without a fault.

    The temporary file lies in the same folder, so the rename stays within one file system. Whatever
    ends the block early (a full disk, Ctrl-C) leaves the old `path` as it was and removes the
    temporary file.
    """
    # Named before it is made, unlike by tempfile: Ctrl-C often comes while the system makes it.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # a failed write names no file, a failed open the temporary
        raise


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document."""
    with atomic_file(path) as file:
        file.write(json.dumps(value, indent=2).encode() + b"\n")


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object per line. The file is rewritten whole, so it is valid at any time."""
    with atomic_file(path) as file:
        for row in rows:
            file.write(json.dumps(row).encode() + b"\n")


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write NumPy arrays as one NPZ file."""
    with atomic_file(path) as file:
        numpy.savez(file, **arrays)
