"""Sphinx, for ``make docs``: the pages of this folder as they are, and the reference from the docstrings."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import sys
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config as Style
from sphinx.ext.napoleon import GoogleDocstring

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import crust  # noqa: E402  # the path comes first
import crust.testing  # noqa: E402
import crust.traversal  # noqa: E402
from crust.config.sections import Section  # noqa: E402

project = "crust"
author = "The crust contributors"
project_copyright = author
version = release = crust.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"  # a folder's start page on code forges; see write_index() for web servers
html_theme = "furo"
html_title = f"crust {version}"
html_copy_source = False

myst_heading_anchors = 3  # "page.md#a-heading", as code forges have it
pygments_style = "friendly"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True

nitpicky = True
nitpick_ignore_regex = [
    # The standard library: its inventory would come from the network, and this is to build without one.
    (r"py:.*", r"(collections|concurrent|contextlib|enum|ipaddress|os|pathlib)\..*"),
    (r"py:class", r"Helper|OnProgress|OnMisbehaviour"),  # who helps crust.survey, and hears how it goes; who judges
    (r"py:class", r"crust\.nat\.punch\.encounter\.Way"),  # what Encounter knows of a socket and an address
    (r"py:.*", r"crust\..*\.[A-Z]|crust\.testing\.network\.MemoryService"),  # type variables; what Network.Service is
]


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """The navigation is the lists of README.md: a part for each of them, its pages in their order."""
    if docname != root_doc:
        return
    for caption, links in re.findall(r"^## (.*?)$(.*?)(?=^## |\Z)", source[0], re.MULTILINE | re.DOTALL):
        pages = re.findall(r"^- \[.*?\]\((.*?)\.(?:md|rst)\)", links, re.MULTILINE)
        source[0] += "\n".join(["\n\n```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```\n"])


def public_names() -> dict[str, str]:
    """Where the code has each public class, and where programs find it."""
    found = {}
    for package in (crust.traversal, crust.testing, crust):
        for name in package.__all__:
            value = getattr(package, name)
            found[f"{getattr(value, '__module__', '')}.{name}"] = f"{package.__name__}.{name}"
    return found


def find_public(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """A reference to a name by the file it stands in leads to its public name."""
    wanted = PUBLIC.get(node.get("reftarget", ""))
    if wanted is None or node.get("refdomain") != "py":
        return None
    return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", wanted, node, content)


def read_sections(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """
    Google's way of writing docstrings. (Loaded as an extension, napoleon would take the words before the first colon of
    an attribute's docstring for a type.) The keys of the configuration have theirs in their fields.
    """
    _, _, attribute = name.rpartition(".")
    owner = getattr(crust, name.split(".")[1], None)
    if what == "attribute" and isinstance(owner, type) and issubclass(owner, Section):
        lines[:] = [field.metadata["doc"] for field in dataclasses.fields(owner) if field.name == attribute]
    else:
        lines[:] = GoogleDocstring(lines, Style(napoleon_use_rtype=False)).lines()


def read_signature(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A default such as one that is made anew for each object, ``<…>``, has no text that Sphinx could read."""
    return (re.sub("<[^<>]*>", "...", signature), returns) if signature else (signature, returns)


def write_index(app: Sphinx, error: Exception | None) -> None:
    """Web servers look for index.html."""
    if error is None and app.builder.format == "html":
        shutil.copyfile(pathlib.Path(app.outdir, "README.html"), pathlib.Path(app.outdir, "index.html"))


PUBLIC = public_names() | {"crust.peers.messages.Configured": "crust.CONFIG"}


def setup(app: Sphinx) -> None:
    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("autodoc-process-signature", read_signature)
    app.connect("missing-reference", find_public)
    app.connect("build-finished", write_index)
