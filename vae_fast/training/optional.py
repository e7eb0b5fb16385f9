"""Packages that only some commands need, and what to say where one is missing."""

from __future__ import annotations

import importlib
from typing import Any


class MissingPackageError(ImportError):
    """An optional package is not installed; the message says how to get it."""


def require(module: str, package: str, purpose: str, extra: str | None = "train") -> Any:
    """Import `module` of the pip package `package`, or say in one line who needs it and which extra
    of this package brings it, if any does."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        wanted = package if extra is None else f'"vae_fast[{extra}]"'
        raise MissingPackageError(
            f"{purpose} needs {package}, which is not installed: pip install {wanted}"
        ) from error
