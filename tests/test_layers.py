"""Imports point down the layers of CONTRIBUTING.md, never up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vae_fast as vf

ROOT = Path(vf.__file__).parent
# From the bottom; of a module counts the longest name that matches. Within a layer anything goes.
LAYERS = [
    ("version", "warning", "layout", "reference.elements"),
    ("likelihoods",),
    ("reference",),
    ("checks", "triton", "sparse"),
    ("ops", "seeds"),
    ("latent", "likelihood", "count_likelihood", "categorical"),
    ("functional",),
    ("modules", "info"),
    ("",),  # the package itself: the public names
    ("nets",),
    ("training", "evaluate", "anomaly", "train"),
    ("commands", "cli", "__main__"),
]
PLACES = {name: level for level, names in enumerate(LAYERS) for name in names}


def layer(module: str) -> int:
    """Of a module's name below the package."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in PLACES:
            return PLACES[name]
    raise AssertionError(f"vae_fast.{module} stands in no layer")


def imports(source: str, module: str, is_package: bool) -> Iterator[str]:
    """The modules of the package that a module imports, below the package."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ["vae_fast", *base] if node.level else []
            origin = [*prefix, *(node.module.split(".") if node.module else [])]
            names = [".".join([*origin, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "vae_fast":
                yield existing(name.split(".")[1:])


def existing(parts: list[str]) -> str:
    """The module that a dotted name lies in; the rest are names within."""
    while parts:
        path = ROOT.joinpath(*parts)
        if path.with_suffix(".py").exists() or path.is_dir():
            break
        parts = parts[:-1]
    return ".".join(parts)


def upward(source: str, module: str, is_package: bool = False) -> list[str]:
    """The imports of a module that point up."""
    mine = layer(module)
    return [name for name in imports(source, module, is_package) if layer(name) > mine]


def modules() -> list[tuple[Path, str]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append((path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)))
    return found


@pytest.mark.parametrize(
    ("path", "module"), modules(), ids=[name or "package" for _, name in modules()]
)
def test_imports_point_down(path: Path, module: str) -> None:
    assert not upward(path.read_text(), module, path.name == "__init__.py")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("triton.likelihood", "from ..ops import likelihood"),
        ("triton.likelihood", "from ..ops.layout import Order"),
        ("ops.likelihood", "from vae_fast.functional import elbo_loss"),
        ("reference.latent", "import vae_fast.ops.latent"),
        ("reference.elements", "from .. import likelihoods"),
        ("functional", "import vae_fast as vf"),
        ("nets.vae", "def f():\n    from ..train import main"),
    ],
)
def test_an_upward_import_is_found(module: str, line: str) -> None:
    assert len(upward(line, module)) == 1
