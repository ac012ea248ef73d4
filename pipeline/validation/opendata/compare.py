"""Compare results with the published values of a recipe, as a table and an HTML page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids.participants import read_participants
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.reports.blocks import (
    Block,
    Box,
    Code,
    Link,
    PageTable,
    Pairs,
    Prose,
    ShownSection,
)
from circuitshift.pipeline.reports.page import render
from circuitshift.pipeline.validation.opendata.recipe import Published, Recipe

__all__ = ["Accounted", "Comparison", "account", "compare", "write_comparison"]

_NOT_COMPARED = "not compared: simulated images"
_COLUMNS = {
    "quantity": "Quantity that is compared",
    "published": "Published value",
    "source": "Publication",
    "where": "Place in the publication",
    "ours": "Value found here; estimates with 95 % confidence interval",
    "agreement": "agrees, disagrees, undetermined (the interval includes both signs), for the "
    "reader to judge, or the reason why the values are not compared",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the comparison, as text.

    Parameters
    ----------
    quantity : str
        Quantity that is compared.
    published, source, where : str
        Published value, DOI of the publication, and place in the publication.
    ours : str
        Value found here; estimates with their 95 % confidence interval.
    agreement : str
        Result of the comparison, or the reason why the values are not compared.
    """

    quantity: str
    published: str
    source: str
    where: str
    ours: str
    agreement: str


@dataclass(frozen=True, slots=True)
class Accounted:
    """Numbers of participants that were analysed, excluded or are missing from the results.

    Parameters
    ----------
    available : int
        Participants with a row in participants.tsv or a folder, in all data sets.
    analysed : int
        Participants with results of the group level.
    excluded : int
        Participants without results that are listed in exclusions.tsv.
    missing : tuple of str
        Participants that are neither analysed nor excluded.
    """

    available: int
    analysed: int
    excluded: int
    missing: tuple[str, ...]


def account(group_dir: Path, data_sets: Sequence[tuple[str, Path]]) -> Accounted:
    """Search for each participant in the results.

    Parameters
    ----------
    group_dir : Path
        Folder ``group`` of the results.
    data_sets : sequence of (str, Path)
        Name (empty for the main data set) and folder of each data set.

    Returns
    -------
    Accounted
    """
    available = set()
    for name, folder in data_sets:
        labels = {*read_participants(folder).labels}
        labels |= {path.name[4:] for path in folder.glob("sub-*") if path.is_dir()}
        available |= {f"{name}:sub-{label}" if name else f"sub-{label}" for label in labels}
    with_results = {
        str(row["participant_id"])
        for file in ("circuits.tsv", "change.tsv")
        for row in tables.read_table(group_dir / file).rows()
    }
    with_exclusions = {
        r["participant_id"] for r in tables.read_table(group_dir / "exclusions.tsv").rows()
    }
    analysed, excluded = available & with_results, (available & with_exclusions) - with_results
    return Accounted(
        len(available),
        len(analysed),
        len(excluded),
        tuple(sorted(available - with_results - with_exclusions)),
    )


def compare(recipe: Recipe, group_dir: Path, *, simulated: bool = False) -> list[Comparison]:
    """Compare results with the published values of a recipe.

    Parameters
    ----------
    recipe : Recipe
        Recipe with published values.
    group_dir : Path
        Folder ``group`` of the results.
    simulated : bool, default=False
        Whether the images are simulated, in which case estimates are not compared.

    Returns
    -------
    list of Comparison
        Rows in the order of the recipe.
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
    """Compare one published value."""
    ours, agreement = "", "for the reader to judge"
    if published.ours in tests:
        ours, agreement = _estimate(tests[published.ours], published.rule)
        agreement = _NOT_COMPARED if simulated else agreement
    elif published.ours:
        value = _look_up(verdict, published.ours)
        ours = "not tested" if value is None else str(value)
        agreement = _count(value, published)
    return Comparison(
        published.quantity, str(published.value), published.source, published.where, ours, agreement
    )


def _look_up(content: Mapping[str, Any], path: str) -> object:
    """Look up a nested value by its path, for example ``n.treated``; None if missing."""
    value: object = content
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _count(value: object, published: Published) -> str:
    """Compare numbers of participants."""
    if not isinstance(value, int | float):
        return "not compared: it was not tested"
    if not published.rule or isinstance(published.value, str):
        return "for the reader to judge"
    agrees = value == published.value
    if published.rule == "at most":
        agrees = 0 < value <= published.value
    return "agrees" if agrees else "disagrees"


def _estimate(row: Mapping[str, str], rule: str) -> tuple[str, str]:
    """Format an estimate with its interval, and compare it with a direction."""
    value, low, high = (_number(row[key]) for key in ("estimate", "ci_low", "ci_high"))
    if math.isnan(value):
        return "not tested", "not compared: it was not tested"
    text = f"{value:.3f} ({low:.3f} to {high:.3f}) {row['unit']}"
    if not rule:
        return text, "for the reader to judge"
    if rule == "none":
        return text, "agrees" if low <= 0 <= high else "disagrees"
    if low <= 0 <= high:
        return text, "undetermined"
    return text, "agrees" if (value > 0) == (rule == "increase") else "disagrees"


def _number(text: str) -> float:
    """Convert a cell to a number, with NaN for ``n/a``."""
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
        Output folder, whose subfolder ``results`` contains the results.
    recipe : Recipe
        Recipe with published values.
    rows : sequence of Comparison
        Rows of the table, as returned by `compare`.
    accounted : Accounted
        Numbers of participants, as returned by `account`.
    sources : mapping of str to sequence of str
        For each data set, the DOI of its version, and addresses and commits of its derivatives;
        empty for data sets that circuitshift did not fetch.
    simulated : bool
        Whether the images are simulated.

    Returns
    -------
    Path
        The HTML page.
    """
    names = [field.name for field in fields(Comparison)]
    columns = {name: [getattr(row, name) or tables.NOT_AVAILABLE for row in rows] for name in names}
    about = {name: {"Description": text} for name, text in _COLUMNS.items()}
    tables.write_table(out_dir / "validation.tsv", columns, sidecar=about)
    verdict = tables.read_json(out_dir / "results" / "group" / "verdict.json")
    head = ("Quantity", "Published", "Source", "Where", "Here", "Agreement")
    cells = [[str(value) or "-" for value in asdict(row).values()] for row in rows]
    unknown = "simulated" if simulated else "not fetched by circuitshift"
    sections = (
        ShownSection(
            "comparison",
            "Comparison with the publication",
            _comparison(
                verdict, PageTable("Published values of the recipe", head, cells), simulated
            ),
        ),
        ShownSection("participants", "Participants", (_accounted(accounted),)),
        ShownSection(
            "data",
            "Data",
            (
                Prose(" ".join(recipe.about.split())),
                Pairs(
                    [
                        (name, [Prose(t) for t in told or [unknown]])
                        for name, told in sources.items()
                    ]
                ),
                _versions(verdict),
            ),
        ),
    )
    path = out_dir / "validation.html"
    page = render(sections, title=f"Validation: {recipe.name}", heading=recipe.title)
    tables.write_text(path, page)
    return path


def _comparison(verdict: Mapping[str, Any], table: PageTable, simulated: bool) -> tuple[Block, ...]:
    """Show the verdict and the table, with a warning if the images are simulated."""
    warning = Box(
        "warn",
        (
            Prose("These are simulated images under the names of the published ones.", "strong"),
            Prose(
                "They show that this layout can be read and that all participants are accounted "
                "for. The estimates carry no information about brains and are not compared."
            ),
        ),
    )
    result = Prose(
        (
            f"Verdict here: {verdict['verdict']}. {verdict['sentence']} ",
            Link("Report of the study", "results/group/report.html"),
            ".",
        )
    )
    note = Prose(
        "Rows without a rule are left to the judgement of the reader: preprocessing, regions and "
        "statistics differ from those of the publication.",
        "soft",
    )
    return (*([warning] if simulated else []), result, table, note)


def _accounted(found: Accounted) -> Prose:
    """Say that all participants are in the results or excluded with a reason, or name others."""
    rest = (
        f". These are in neither: {', '.join(found.missing)}."
        if found.missing
        else ". No participant is missing from both."
    )
    return Prose(
        (
            f"Of {found.available} participants, {found.analysed} are in the results and "
            f"{found.excluded} are listed with a reason in ",
            Code("results/group/exclusions.tsv"),
            rest,
        )
    )


def _versions(verdict: Mapping[str, Any]) -> Prose:
    names = ", ".join(f"{name} {version}" for name, version in verdict["versions"].items())
    return Prose(f"Seed {verdict['seed']}; {names}.", "soft")
