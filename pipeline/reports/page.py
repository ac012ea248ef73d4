"""From sections to HTML, and what several reports show alike.

A page needs nothing else: no script, no font and no image from elsewhere, and its own header
forbids the browser to fetch one.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports.blocks import ShownSection
from circuitshift.pipeline.reports.references import DOI

__all__ = ["Row", "in_time", "nan_mean", "render", "visit"]

#: Data files that this module reads, relative to its folder (`io.provenance.code_hash`).
PACKAGE_DATA = ("templates/*.html", "templates/*.css", "templates/*.js")

Row = Mapping[str, Any]


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def render(
    sections: Iterable[ShownSection], *, title: str, heading: str = "", style: str = ""
) -> str:
    """Write sections as a page; all text is escaped.

    Parameters
    ----------
    sections : iterable of ShownSection
        In the order of the page.
    title : str
        Title of the document.
    heading : str
        First heading of the page; the title if left out.
    style : str
        File of ``templates`` with rules for this page only.

    Returns
    -------
    str
        HTML. The same sections give the same text.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - see imports
    from markupsafe import Markup, escape  # noqa: PLC0415 - comes with jinja2

    def with_links(text: object) -> Markup:
        link = r'<a href="https://doi.org/\1">doi:\1</a>'
        return Markup(DOI.sub(link, str(escape(text))))  # noqa: S704 - escaped just here

    def as_data(content: object) -> Markup:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        # nothing in it may end the element that holds it
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
        "svg": Markup,  # figures escape what they draw
    }
    text = environment.get_template("page.html").render(
        sections=list(sections), title=title, heading=heading or title, style=style
    )
    return _CONTROL.sub(" ", text)


def visit(session: str) -> str:
    """Name a session in a sentence."""
    return f"ses-{session}" if session else "the only session"


# Nearly the rule by which `circuitshift.pipeline.study.study_file` finds the visits, but looser:
# any name that starts so. It orders what a page shows; what is compared is decided there.
_BEFORE = re.compile(r"^(pre|base|bl$|before)|pre$", re.IGNORECASE)
_AFTER = re.compile(r"^(post|follow|fu\d*$|after)|post$", re.IGNORECASE)


def in_time(sessions: Iterable[str]) -> list[str]:
    """Order sessions as their names tell: before, after, then the others by number and name.

    Parameters
    ----------
    sessions : iterable of str
        Labels without ``ses-``; may repeat.

    Returns
    -------
    list of str
        Each label once.
    """
    labels = set(sessions)
    told = any(_BEFORE.search(label) for label in labels)

    def order(label: str) -> tuple[int, list[tuple[int, str]]]:
        kind = 0 if _BEFORE.search(label) else 1 if _AFTER.search(label) else 2 if told else 0
        parts = re.findall(r"\d+|\D+", label.lower())
        return kind, [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]

    return sorted(labels, key=order)


def nan_mean(values: Floats) -> float:
    """Mean of the finite values; NaN when there is none."""
    available = values[np.isfinite(values)]
    return float(available.mean()) if available.size else float("nan")
