"""Conversion of sections to HTML, and helpers that both reports use.

A page is self-contained. It uses no scripts, fonts or images from other locations, and its header
prevents the browser from loading any.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports.blocks import ShownSection
from circuitshift.pipeline.reports.references import DOI
from circuitshift.pipeline.words import with_minus_signs

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Row", "in_time", "nan_mean", "render", "visit"]

#: Data files that this module reads, relative to its folder (`io.provenance.code_hash`).
PACKAGE_DATA = ("templates/*.html", "templates/*.css", "templates/*.js")

Row = Mapping[str, Any]


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def render(
    sections: Iterable[ShownSection], *, title: str, heading: str = "", style: str = ""
) -> str:
    """Convert sections to an HTML page in which all text is escaped.

    Parameters
    ----------
    sections : iterable of ShownSection
        Sections in the order of the page.
    title : str
        Title of the document.
    heading : str
        First heading of the page; `title` by default.
    style : str
        File in ``templates`` with CSS rules for this page only.

    Returns
    -------
    str
        HTML text, which is identical for identical sections.
    """
    text = (
        _environment()
        .get_template("page.html")
        .render(sections=list(sections), title=title, heading=heading or title, style=style)
    )
    return _CONTROL.sub(" ", text)


@cache  # compiling the templates takes longer than converting a page
def _environment() -> "Environment":
    """Return the environment of the templates, with the filters that they use."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - see imports
    from markupsafe import Markup, escape  # noqa: PLC0415 - comes with jinja2

    def with_links(text: object) -> Markup:
        link = r'<a href="https://doi.org/\1">doi:\1</a>'
        return Markup(DOI.sub(link, str(escape(with_minus_signs(str(text))))))  # noqa: S704 - escaped just here

    def as_data(content: object) -> Markup:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        # "<" is escaped so that the data cannot close the script element
        return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - escaped just here

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "doi": with_links,
        "data": as_data,
        "svg": Markup,  # figures escape their own text
    }
    return environment


def visit(session: str) -> str:
    """Return the name of a session for use in a sentence."""
    return f"ses-{session}" if session else "the only session"


# Similar to the rule by which `circuitshift.pipeline.study.study_file` identifies the visits, but
# more permissive. It only orders the sessions on a page; the study file decides which are compared.
_BEFORE = re.compile(r"^(pre|base|bl$|before)|pre$", re.IGNORECASE)
_AFTER = re.compile(r"^(post|follow|fu\d*$|after)|post$", re.IGNORECASE)


def in_time(sessions: Iterable[str]) -> list[str]:
    """Sort sessions by their names: before, after, then the others by number and name.

    Parameters
    ----------
    sessions : iterable of str
        Labels without ``ses-``; labels may repeat.

    Returns
    -------
    list of str
        Each label once, in the order of time.
    """
    labels = set(sessions)
    has_before = any(_BEFORE.search(label) for label in labels)

    def order(label: str) -> tuple[int, list[tuple[int, str]]]:
        kind = 0 if _BEFORE.search(label) else 1 if _AFTER.search(label) else 2 if has_before else 0
        parts = re.findall(r"\d+|\D+", label.lower())
        return kind, [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]

    return sorted(labels, key=order)


def nan_mean(values: Floats) -> float:
    """Return the mean of the finite values, or NaN if there are none."""
    available = values[np.isfinite(values)]
    return float(available.mean()) if available.size else float("nan")
