"""What all report pages share: the records of their content, and the way from values to HTML.

A page needs nothing else: no script, no font, no image from elsewhere, and its own header
forbids fetching one. The order of sections is
that of ``templates/*.html``.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.references import DOI

__all__ = [
    "Figure",
    "Floats",
    "None",
    "Row",
    "in_time",
    "nan_mean",
    "render",
    "visit",
]

#: Data files that this module reads, relative to its folder (`io.provenance.code_hash`).
PACKAGE_DATA = ("templates/*.html", "templates/*.css", "templates/*.js")

Row = Mapping[str, Any]


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def render(template: str, page: Mapping[str, Any]) -> str:
    """Fill a template with the content of a page; all text is escaped.

    Parameters
    ----------
    template : str
        File in ``templates``.
    page : mapping
        Every name that the template uses.

    Returns
    -------
    str
        HTML.
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
        "cell": wording.cell,
        "doi": with_links,
        "data": as_data,
        "number": wording.show,
        "p": wording.p_value,
        "svg": Markup,  # figures escape what they draw
    }
    text = environment.get_template(template).render(page)
    return _CONTROL.sub(" ", text)


@dataclass(frozen=True, slots=True)
class Figure:
    """SVG and what stands below it.

    Parameters
    ----------
    svg, caption : str
    """

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class PageTable:
    """Cells as text; the first column names the row.

    Parameters
    ----------
    caption : str
    head : sequence of str
        One per column.
    rows : sequence of sequence of str
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


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
