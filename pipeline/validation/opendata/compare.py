"""What a recipe expects against what was found: rows, a table, a page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids.participants import read_participants
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.reports.page import PageTable, render
from circuitshift.pipeline.validation.opendata.recipe import Published, Recipe

__all__ = ["Accounted", "Comparison", "account", "compare", "write_comparison"]

_NOT_COMPARED = "not compared: simulated images"
_COLUMNS = {
    "quantity": "What is compared",
    "published": "What was published",
    "source": "Where it was published",
    "where": "Where it stands there",
    "ours": "What was found here; estimates with their 95 % interval",
    "agreement": "agrees, disagrees, undetermined (the interval allows both), for the reader to "
    "judge, or why it is not compared",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the comparison, as text; meanings in the JSON beside the table.

    Parameters
    ----------
    quantity, published, source, where, ours, agreement : str
    """

    quantity: str
    published: str
    source: str
    where: str
    ours: str
    agreement: str


@dataclass(frozen=True, slots=True)
class Accounted:
    """Whether everybody of a study is somewhere in its results.

    Parameters
    ----------
    available : int
        People of participants.tsv and of folders, over all data sets.
    analysed, excluded : int
        People with results of the group level; others, who are named in exclusions.tsv.
    missing : tuple of str
        People who are in neither.
    """

    available: int
    analysed: int
    excluded: int
    missing: tuple[str, ...]


def account(group_dir: Path, data_sets: Sequence[tuple[str, Path]]) -> Accounted:
    """Look for everybody in the results.

    Parameters
    ----------
    group_dir : Path
        Folder ``group`` of the results.
    data_sets : sequence of (str, Path)
        Name (empty for the main one) and folder of each data set.

    Returns
    -------
    Accounted
    """
    available = set()
    for name, folder in data_sets:
        labels = {*read_participants(folder).labels}
        labels |= {path.name[4:] for path in folder.glob("sub-*") if path.is_dir()}
        available |= {f"{name}:sub-{label}" if name else f"sub-{label}" for label in labels}
    seen = {
        str(row["participant_id"])
        for file in ("circuits.tsv", "change.tsv")
        for row in tables.read_table(group_dir / file).rows()
    }
    named = {r["participant_id"] for r in tables.read_table(group_dir / "exclusions.tsv").rows()}
    analysed, excluded = available & seen, (available & named) - seen
    return Accounted(
        len(available), len(analysed), len(excluded), tuple(sorted(available - seen - named))
    )


def compare(recipe: Recipe, group_dir: Path, *, simulated: bool = False) -> list[Comparison]:
    """Compare results with what was published.

    Parameters
    ----------
    recipe : Recipe
    group_dir : Path
        Folder ``group`` of the results.
    simulated : bool
        Whether the images are a replica's, so that estimates mean nothing.

    Returns
    -------
    list of Comparison
        In the order of the recipe.
    """
    verdict = tables.read_json(group_dir / "verdict.json")
    tests = {
        f"{row['family']}/{row['term']}": row
        for row in tables.read_table(group_dir / "tests.tsv").rows()
    }
    return [_row(published, verdict, tests, simulated=simulated) for published in recipe.published]


def _row(
    published: Published,
    verdict: Mapping[str, Any],
    tests: Mapping[str, Mapping[str, str]],
    *,
    simulated: bool,
) -> Comparison:
    ours, agreement = "", "for the reader to judge"
    if published.ours in tests:
        ours, agreement = _estimate(tests[published.ours], published.rule)
        agreement = _NOT_COMPARED if simulated else agreement
    elif published.ours:
        found = _look_up(verdict, published.ours)
        ours = "not tested" if found is None else str(found)
        agreement = _count(found, published)
    return Comparison(
        published.quantity, str(published.value), published.source, published.where, ours, agreement
    )


def _look_up(content: Mapping[str, Any], path: str) -> object:
    value: object = content
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _count(found: object, published: Published) -> str:
    """Compare numbers of people."""
    if not isinstance(found, int | float):
        return "not compared: it was not tested"
    if not published.rule or isinstance(published.value, str):
        return "for the reader to judge"
    right = found == published.value
    if published.rule == "at most":
        right = 0 < found <= published.value
    return "agrees" if right else "disagrees"


def _estimate(row: Mapping[str, str], rule: str) -> tuple[str, str]:
    """Write an estimate with its interval, and compare it with a direction."""
    value, low, high = (_number(row[key]) for key in ("estimate", "ci_low", "ci_high"))
    if math.isnan(value):
        return "not tested", "not compared: it was not tested"
    told = f"{value:.3f} ({low:.3f} to {high:.3f}) {row['unit']}"
    if not rule:
        return told, "for the reader to judge"
    if rule == "none":
        return told, "agrees" if low <= 0 <= high else "disagrees"
    if low <= 0 <= high:
        return told, "undetermined"
    return told, "agrees" if (value > 0) == (rule == "increase") else "disagrees"


def _number(text: str) -> float:
    return float("nan") if text == tables.NOT_AVAILABLE else float(text)


def write_comparison(
    out_dir: Path,
    recipe: Recipe,
    rows: Sequence[Comparison],
    accounted: Accounted,
    *,
    sources: Mapping[str, Sequence[str]],
    simulated: bool,
) -> Path:
    """Write ``validation.tsv`` and ``validation.html``.

    Parameters
    ----------
    out_dir : Path
        Its folder ``results`` holds what was found.
    recipe : Recipe
    rows : sequence of Comparison
    accounted : Accounted
    sources : mapping of str to sequence of str
        Data set -> DOI of its version, address and commit of its derivatives; empty when it was
        not fetched by circuitshift.
    simulated : bool

    Returns
    -------
    Path
        The page.
    """
    names = [field.name for field in fields(Comparison)]
    columns = {name: [getattr(row, name) or tables.NOT_AVAILABLE for row in rows] for name in names}
    about = {name: {"Description": text} for name, text in _COLUMNS.items()}
    tables.write_table(out_dir / "validation.tsv", columns, sidecar=about)
    verdict = tables.read_json(out_dir / "results" / "group" / "verdict.json")
    head = ("Quantity", "Published", "Source", "Where", "Here", "Agreement")
    cells = [[str(value) or "-" for value in asdict(row).values()] for row in rows]
    page = {
        "title": f"Validation: {recipe.name}",
        "recipe": recipe,
        "about": " ".join(recipe.about.split()),
        "simulated": simulated,
        "comparison": PageTable("Every row of the recipe", head, cells),
        "accounted": accounted,
        "sources": {
            name: list(told) or ["simulated" if simulated else "not fetched by circuitshift"]
            for name, told in sources.items()
        },
        "verdict": verdict["verdict"],
        "sentence": verdict["sentence"],
        "versions": verdict["versions"],
        "seed": verdict["seed"],
    }
    path = out_dir / "validation.html"
    tables.write_text(path, render("validation.html", page))
    return path
