"""A hook of MkDocs: the maths of docstrings and pages as MathML, which browsers draw themselves.

Reads ``:math:`...` `` and ``.. math::`` followed by indented lines.
"""

import re
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig

ROLE = r":math:`([^`]+)`"
DIRECTIVE = re.compile(r"\.\. math::(.*(?:\n[ \t]+.*)*)")


def mathml(latex: str, display: str) -> ElementTree.Element:
    """A formula; an underscore in a name needs no backslash there."""
    text = convert(" ".join(latex.split()).replace(r"\_", "_"), display=display)
    # HTML knows the element without its name space.
    return ElementTree.fromstring(text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))


class Directive(BlockProcessor):
    """A formula of its own line."""

    def test(self, parent: ElementTree.Element, block: str) -> bool:
        return DIRECTIVE.match(block) is not None

    def run(self, parent: ElementTree.Element, blocks: list[str]) -> None:
        block = blocks.pop(0)
        match = DIRECTIVE.match(block)
        assert match
        ElementTree.SubElement(parent, "p").append(mathml(match[1], "block"))
        if rest := block[match.end() :].strip("\n"):
            blocks.insert(0, rest)


class Role(InlineProcessor):
    """A formula in the text."""

    def handleMatch(  # type: ignore[override]
        self, match: re.Match[str], data: str
    ) -> tuple[ElementTree.Element, int, int]:
        return mathml(match[1], "inline"), match.start(0), match.end(0)


class Maths(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.parser.blockprocessors.register(Directive(md.parser), "maths", 175)
        md.inlinePatterns.register(Role(ROLE, md), "maths", 200)  # before code in backticks


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the extension to those that pages and docstrings are rendered with."""
    config.markdown_extensions.append(Maths())
    return config
