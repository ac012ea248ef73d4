"""What all report pages share: the records of their content, and the way from values to HTML.

A page needs nothing else: no script, no font, no image from elsewhere, and its own header
forbids fetching one. The order of sections is
that of ``templates/*.html``.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Region
from circuitshift.pipeline import wording
from circuitshift.pipeline.preproc.views import PreprocView
from circuitshift.pipeline.problems import Problem
from circuitshift.pipeline.ratings import Rating
from circuitshift.pipeline.records import Kept
from circuitshift.pipeline.references import DOI
from circuitshift.pipeline.views import RunViews

__all__ = [
    "Figure",
    "Floats",
    "GroupReport",
    "Others",
    "PersonReport",
    "Removed",
    "Row",
    "RunQuality",
    "SessionEdges",
    "Table",
    "in_time",
    "mean_of_known",
    "render",
    "visit",
]

Floats = npt.NDArray[np.float64]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class RunQuality:
    """Quality of one run under one strategy.

    Parameters
    ----------
    label, session : str
        Name of the run, and its session; empty when the tree has none.
    fd_mm : ndarray, shape (n_volumes,)
        Framewise displacement, mm; empty when unknown.
    keep : ndarray of bool, shape (n_volumes,)
        Volumes that entered connectivity; empty when unknown.
    kept : Kept
    coverage : ndarray, shape (n_regions,)
        Share of each region that carries signal.
    coverage_labels : sequence of str
        Region names.
    below_coverage : tuple of str
        Regions below `min_coverage`: their edges are not available.
    min_coverage : float
    excluded : tuple of str
        Why the run does not enter the analysis; empty when it does.
    strategy : str
    series : ndarray, shape (n_volumes or n_retained, n_regions), optional
        For the carpet.
    networks : tuple of str
        One per region.
    fd_threshold_mm : float, optional
        Censoring threshold of the strategy, mm.
    std_dvars : ndarray, shape (n_volumes,), optional
        Standardised DVARS before denoising.
    median_tsnr : float
        Over the voxels of the mask; NaN when unknown.
    views : RunViews
        Maps and carpets.
    preprocessing_report : str
        Path of fMRIPrep's report of this person, relative to the page; may be empty.
    """

    label: str
    session: str
    fd_mm: Floats
    keep: npt.NDArray[np.bool_]
    kept: Kept
    coverage: Floats
    coverage_labels: Sequence[str]
    below_coverage: tuple[str, ...]
    min_coverage: float
    excluded: tuple[str, ...]
    strategy: str
    series: Floats | None
    networks: tuple[str, ...]
    fd_threshold_mm: float | None = None
    std_dvars: Floats | None = None
    median_tsnr: float = float("nan")
    views: RunViews = field(default_factory=RunViews)
    preprocessing_report: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """What one denoising strategy took out of one run.

    Parameters
    ----------
    run, strategy : str
    kept : Kept
    usable : bool
        Whether the run enters the analysis under this strategy.
    """

    run: str
    strategy: str
    kept: Kept
    usable: bool


@dataclass(frozen=True, slots=True)
class Others:
    """Circuit values of the other people of the study.

    Parameters
    ----------
    session : str
        In which session.
    n_people : int
    ranges : mapping of str to (float, float)
        5th and 95th percentile of mean Fisher z, by circuit.
    """

    session: str
    n_people: int
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, eq=False)
class SessionEdges:
    """Edges of one session.

    Parameters
    ----------
    session : str
    matrix : ndarray, shape (n_regions, n_regions)
        Fisher z.
    networks : tuple of str
        One per region.
    """

    session: str
    matrix: Floats
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PersonReport:
    """Everything the page of one person shows.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    runs : tuple of RunQuality
    edges : tuple of SessionEdges
        In any order: the page orders sessions as their names tell, and says so.
    circuits : mapping of str to mapping of str to float
        Mean Fisher z by circuit and session.
    notes : tuple of str
        Remarks.
    faults : tuple of Problem
        What could not be measured.
    left_out : tuple of Problem
        What was measured and does not enter the analysis.
    provenance : mapping of str to str
        Versions, hashes, atlas, denoising, command.
    preproc : PreprocView, optional
        When raw images were preprocessed here.
    removed : tuple of Removed
        Every run under every strategy.
    others : Others, optional
        When the group level has been run.
    ratings : tuple of Rating
        What people who looked at this page decided.
    data_set : str
        Name of the data set; empty for the main one.
    """

    participant: str
    runs: tuple[RunQuality, ...]
    edges: tuple[SessionEdges, ...]
    circuits: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    faults: tuple[Problem, ...]
    provenance: Mapping[str, str]
    preproc: PreprocView | None = None
    left_out: tuple[Problem, ...] = ()
    removed: tuple[Removed, ...] = ()
    others: Others | None = None
    ratings: tuple[Rating, ...] = ()
    data_set: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class GroupReport:
    """Everything the page of one study shows.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.
    tests : sequence of dict
        Rows of tests.tsv.
    people : sequence of dict
        Rows of circuits.tsv.
    exclusions : sequence of dict
        Rows of exclusions.tsv.
    quality : sequence of dict
        One per run: participant_id, arm, session, mean_fd_mm, minutes, residual_dof.
    change_by_strength : mapping, optional
        ``typical_z``, ``change_treated_z``, ``change_control_z``, ``is_circuit`` of every edge,
        ``circuits``, the names of its circuits with commas between, and the other columns of
        edges.tsv.
    notes : tuple of str
    methods : str
        Text for a methods section.
    beside : mapping of str to sequence of dict
        Rows of the tables beside the verdict, by file name.
    references : sequence of str
        What the methods cite, a line each.
    regions : sequence of Region
        Of the atlas, in the order of its columns.
    pages : mapping of str to str
        Links to the pages of people, by participant_id.
    files : mapping of str to sequence of str
        Files beside the page, and the columns of each.
    """

    verdict: Row
    tests: Sequence[Row]
    people: Sequence[Row]
    exclusions: Sequence[Row]
    quality: Sequence[Row]
    change_by_strength: Mapping[str, Any] | None
    notes: tuple[str, ...]
    methods: str
    beside: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    references: Sequence[str] = ()
    regions: Sequence[Region] = ()
    pages: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)


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
class Table:
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


# Nearly the rule by which `circuitshift.pipeline.design` finds the visits of a study, but looser:
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


def mean_of_known(values: Floats) -> float:
    """Mean of the finite values; NaN when there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
