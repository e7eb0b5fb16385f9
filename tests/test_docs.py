"""The documentation has every public name, and links of the files beside it lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vae_fast as vf

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_in_the_reference() -> None:
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    missing = [name for name in vf.__all__ if f"vae_fast.{name}" not in pages]
    assert not missing


def test_every_environment_variable_is_in_both_tables() -> None:
    """Those that the package and its build read."""
    sources = [*(ROOT / "vae_fast").rglob("*.py"), *ROOT.glob("setup*.py")]
    found = {
        name
        for path in sources
        for name in re.findall(r'"(VAE_FAST_[A-Z_]+|TORCH_CUDA_ARCH_LIST)"', path.read_text())
    }
    assert len(found) > 4
    for page in ("README.md", "docs/guide/backends.md"):
        text = (ROOT / page).read_text()
        assert not [name for name in found if f"| `{name}` |" not in text], page


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        assert (ROOT / path).exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads]
            assert anchor in slugs, target
