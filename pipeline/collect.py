"""Outputs -> reports: reads back what was written, so that reports can be made again."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline import change, connectivity, measure, report, tables
from circuitshift.pipeline.atlas_files import read_atlas
from circuitshift.pipeline.denoise import get_strategy, load_strategies
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.preproc.views import view_preproc
from circuitshift.pipeline.provenance import code_hash, inputs_hash, page_hash, versions
from circuitshift.pipeline.records import Kept, Science

__all__ = ["ReportFile", "report_group", "report_person"]

Floats = npt.NDArray[np.float64]
_Row = Mapping[str, str]


class ReportFile(NamedTuple):
    """What the functions of this module make."""

    report: Path


def report_person(
    participant: str,
    science: Science,
    out_dir: Path,
    runs: Path | None = None,
    *,
    again: bool = False,
) -> ReportFile:
    """Write ``sub-X.html`` from the outputs of one person, unless it is there and still valid.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    science : Science
    out_dir : Path
        Root of the output data set.
    runs : Path, optional
        ``sub-X_runs.tsv``, when it is not at its usual place.
    again : bool
        Write it even so.

    Returns
    -------
    ReportFile

    Raises
    ------
    InputError
        If this person has not been measured.
    """
    path = runs or measure.runs_table(participant, out_dir)
    if not path.exists():
        raise InputError(f"{path} is not there; run the participant level for sub-{participant}")
    target = out_dir / f"sub-{participant}.html"
    key = _page_key(path, science)
    if not again and target.exists() and key in target.read_text(encoding="utf-8"):
        return ReportFile(target)
    rows = list(tables.read_table(path).rows())
    usable = [row for row in rows if row["status"] != "failed"]
    primary = [
        row for row in usable if (row["atlas"], row["strategy"]) == _first_kind(usable, science)
    ]
    edges, circuits = _sessions(primary, out_dir)
    content = report.PersonReport(
        participant=participant,
        runs=tuple(_run_quality(row, science, out_dir) for row in primary),
        edges=edges,
        circuits=circuits,
        notes=tuple(dict.fromkeys(note for row in primary for note in _notes(row, out_dir))),
        faults=tuple(dict.fromkeys(f"{r['run']}: {r['reason']}" for r in rows if r not in usable)),
        provenance={**_provenance(primary, science), "inputs hash": key},
        preproc=view_preproc(participant, out_dir / "preproc"),
    )
    report.write_person_report(target, content)
    return ReportFile(target)


def _page_key(runs: Path, science: Science) -> str:
    """Hash of everything that a person's page shows."""
    # sidecars hold the checksums of their tables, and no date: the same results, the same page
    files = sorted(path for path in runs.parent.rglob("func/*.json") if path.is_file())
    files += sorted((runs.parent.parent / "preproc" / runs.parent.name / "log").glob("*.json"))
    seen = [(path.name, tables.checksum(path)) for path in files]
    return inputs_hash((), seen, tables.read_text(runs), science.digest(), page_hash())


def _first_kind(rows: Sequence[_Row], science: Science) -> tuple[str, str]:
    """Atlas and strategy that the report shows."""
    if not rows:
        return "", ""
    names = {row["strategy"] for row in rows}
    strategy = science.strategies[0] if science.strategies[0] in names else rows[0]["strategy"]
    return rows[0]["atlas"], strategy


def _sidecar(row: _Row, out_dir: Path) -> dict[str, Any]:
    return tables.read_json((out_dir / row["relmat"]).with_suffix(".json"))


def _notes(row: _Row, out_dir: Path) -> list[str]:
    return [str(note) for note in _sidecar(row, out_dir).get("Notes") or []]


def _number(text: str) -> float:
    return float("nan") if text == tables.NOT_AVAILABLE else float(text)


def _beside(row: _Row, suffix: str) -> str:
    """Name of another output of the same run, from the name of its matrix."""
    name = row["relmat"]
    if suffix in ("motion", "outliers"):
        name = re.sub(r"_(space|res|cohort|den|atlas|stat)-[^_]+", "", name)
        if suffix == "motion":
            name = re.sub(r"_desc-[^_]+", "", name)
    elif suffix == "timeseries":
        name = re.sub("_stat-[a-z]+correlation", "_stat-mean", name)
    else:  # coverage
        name = re.sub("_stat-[a-z]+correlation", "_stat-coverage", name)
        name = re.sub(r"_desc-[^_]+", "", name)
    return name.removesuffix("relmat.tsv") + f"{'bold' if suffix == 'coverage' else suffix}.tsv"


def _run_quality(row: _Row, science: Science, out_dir: Path) -> report.RunQuality:
    atlas = read_atlas(out_dir, row["atlas"])
    fd, keep = _motion(row, out_dir)
    coverage = _coverage(row, atlas, out_dir)
    series = out_dir / _beside(row, "timeseries")
    below = [n for n, c in zip(atlas.labels, coverage, strict=True) if c < science.min_coverage]
    threshold = _threshold(row["strategy"], science)
    return report.RunQuality(
        label=row["run"],
        session="" if row["session"] == tables.NOT_AVAILABLE else row["session"],
        fd_mm=fd,
        keep=keep,
        kept=_kept(row),
        coverage=coverage,
        coverage_labels=atlas.labels,
        below_coverage=tuple(below),
        min_coverage=science.min_coverage,
        excluded=tuple(row["reason"].split("; ")) if row["status"] == "excluded" else (),
        strategy=row["strategy"],
        series=tables.read_series(series)[1] if series.exists() else None,
        networks=tuple(region.network for region in atlas.regions),
        fd_threshold_mm=threshold,
    )


def _threshold(strategy: str, science: Science) -> float | None:
    """Framewise displacement above which volumes were censored, mm."""
    if strategy == measure.AS_GIVEN:
        return None
    known = load_strategies(tuple(map(Path, science.strategy_files)))
    return get_strategy(strategy, known).fd_threshold_mm


def _kept(row: _Row) -> Kept:
    counts = ("n_volumes", "n_dummy", "n_censored", "n_retained", "n_regressors")
    values: dict[str, Any] = {name: int(_number(row[name])) for name in counts}
    values |= {name: _number(row[name]) for name in ("minutes", "residual_dof", "mean_fd_mm")}
    return Kept(**values)


def _motion(row: _Row, out_dir: Path) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Framewise displacement, and which volumes were kept; empty when unknown."""
    name = "framewise_displacement"
    motion, outliers = (out_dir / _beside(row, kind) for kind in ("motion", "outliers"))
    if not (motion.exists() and outliers.exists()):
        return np.empty(0), np.empty(0, bool)
    fd = tables.read_table(motion).numbers(name)
    return fd, tables.read_table(outliers).numbers(name) == 0


def _coverage(row: _Row, atlas: Atlas, out_dir: Path) -> Floats:
    path = out_dir / _beside(row, "coverage")
    if path.exists():
        return tables.read_table(path).numbers("coverage")
    lost = set(_sidecar(row, out_dir).get("RegionsLost") or [])
    return np.array([0.0 if label in lost else 1.0 for label in atlas.labels])


def _sessions(
    rows: Sequence[_Row], out_dir: Path
) -> tuple[tuple[report.SessionEdges, ...], dict[str, dict[str, float]]]:
    """Edges and circuit values of each session, over usable runs as in the analysis."""
    included = [row for row in rows if row["status"] == "included"]
    if not included:
        return (), {}
    atlas = read_atlas(out_dir, included[0]["atlas"])
    means = change.session_means(
        change.Measured(
            person="",
            session="" if row["session"] == tables.NOT_AVAILABLE else row["session"],
            z=connectivity.fisher_z(
                connectivity.from_matrix(tables.read_matrix(out_dir / row["relmat"])[1])
            ),
            weight=_number(row["residual_dof"]),
            minutes=_number(row["minutes"]),
            mean_fd_mm=_number(row["mean_fd_mm"]),
            name=row["run"],
        )
        for row in included
    )
    networks = tuple(region.network for region in atlas.regions)
    science = _sidecar(included[0], out_dir).get("Science") or {}
    circuits = load_circuits(atlas, files=tuple(map(Path, science.get("circuits", ())))).circuits
    values: dict[str, dict[str, float]] = {}
    edges = []
    for (_, session), measured in means.items():
        edges.append(report.SessionEdges(session, connectivity.to_matrix(measured.z), networks))
        found = connectivity.circuit_values(measured.z, circuits)
        for circuit, value in zip(circuits, found, strict=True):
            values.setdefault(circuit.name, {})[session] = float(value)
    return tuple(edges), values


def _provenance(rows: Sequence[_Row], science: Science) -> dict[str, str]:
    out = {f"version of {name}": value for name, value in versions().items()}
    out |= {"code hash": code_hash(), "settings hash": science.digest()}
    if rows:
        out |= {
            "atlas": rows[0]["atlas"],
            "denoising": _prose(rows[0]["strategy"], science),
            "edges": _EDGES[science.estimator],
        }
    return out


def _prose(strategy: str, science: Science) -> str:
    if strategy == measure.AS_GIVEN:
        return "Series or matrices were taken as given; denoising was done elsewhere."
    known = load_strategies(tuple(map(Path, science.strategy_files)))
    found = get_strategy(strategy, known)
    return f"{found.prose} ({found.reference})" if found.reference else found.prose


_BESIDE = ("normalisation", "models", "reliability", "influence", "spatial", "specification")


def report_group(out_dir: Path, verdict: Path | None = None) -> ReportFile:
    """Write ``group/report.html`` from the outputs of the group level.

    Parameters
    ----------
    out_dir : Path
        Root of the output data set.
    verdict : Path, optional
        ``verdict.json``, when it is not at its usual place.

    Returns
    -------
    ReportFile

    Raises
    ------
    InputError
        If the group level has not been run.
    """
    folder = out_dir / "group"
    path = verdict or folder / "verdict.json"
    if not path.exists():
        raise InputError(f"{path} is not there; run the group level first")
    content = tables.read_json(path)
    people = list(tables.read_table(folder / "circuits.tsv").rows())
    target = folder / "report.html"
    report.write_group_report(
        target,
        report.GroupReport(
            verdict=content,
            tests=[dict(row) for row in tables.read_table(folder / "tests.tsv").rows()],
            people=[dict(row) for row in people],
            exclusions=[dict(row) for row in tables.read_table(folder / "exclusions.tsv").rows()],
            quality=_quality(out_dir, content, people),
            change_by_strength=_change_by_strength(folder / "edges.tsv"),
            notes=tuple(content.get("notes") or ()),
            methods=_methods(content),
            beside={
                name: [dict(row) for row in tables.read_table(path).rows()]
                for name in _BESIDE
                if (path := folder / f"{name}.tsv").exists()
            },
        ),
    )
    return ReportFile(target)


def _quality(
    out_dir: Path, content: Mapping[str, Any], people: Sequence[_Row]
) -> list[dict[str, object]]:
    """Motion and minutes of every analysed session."""
    left_out = tables.read_table(out_dir / "group" / "exclusions.tsv").rows()
    arms = {row["participant_id"]: row["arm"] for row in [*left_out, *people]}
    out: list[dict[str, object]] = []
    for path in sorted(out_dir.glob("**/sub-*/sub-*_runs.tsv")):
        parts = path.relative_to(out_dir).parts
        person = (f"{parts[1]}:" if parts[0] == "datasets" else "") + path.parent.name
        for row in tables.read_table(path).rows():
            if (row["strategy"], row["atlas"]) == (content["strategy"], content["atlas"]):
                out.append(
                    {
                        "participant_id": person,
                        "arm": arms.get(person, tables.NOT_AVAILABLE),
                        "session": row["session"],
                        "status": row["status"],
                        **{k: row[k] for k in ("mean_fd_mm", "minutes", "residual_dof")},
                    }
                )
    return out


def _change_by_strength(path: Path) -> dict[str, object]:
    """Group means of every edge, for the picture of change against typical strength."""
    if not path.exists():
        return {}
    table = tables.read_table(path)
    circuits = table.column("circuits")
    return {
        "typical_z": table.numbers("typical_z"),
        "change_treated_z": table.numbers("change_treated_z"),
        "change_control_z": table.numbers("change_control_z"),
        "is_circuit": np.array([text != tables.NOT_AVAILABLE for text in circuits]),
        "circuits": circuits,
    }


_EDGES = {
    "pearson": "Pearson correlations",
    "partial": "partial correlations (Ledoit-Wolf shrunk covariance)",
}


def _covariates(content: Mapping[str, Any]) -> str:
    names = list(content.get("covariates") or ())
    return f" Covariates: {', '.join(names)}." if names else " There were no covariates."


def _methods(content: Mapping[str, Any]) -> str:
    """Text for a methods section, with what was really done."""
    design, n, seen = content["design"], content["n"], content["versions"]
    science = Science.from_record(content["science"])
    arms = f"{n['treated']} treated" + (f" and {n['control']} control" * bool(n["control"]))
    reference = f" and {n['reference']} reference people" if n["reference"] else ""
    return (
        f"Connectivity was analysed with circuitshift {seen['circuitshift']} on the "
        f"{content['n_regions']} regions of the atlas {content['atlas']}. "
        f"{_prose(content['strategy'], science)} "
        f"Edges were {_EDGES[science.estimator]} of regional mean series, Fisher-z transformed; "
        "runs of a session were averaged with their residual degrees of freedom as weights. "
        f"Change from ses-{design['baseline']} to ses-{design['followup']} of {arms} "
        f"people{reference} was described, for each person, by a global response model over "
        "background edges (shift, gain, distance and, where it could be identified, "
        "normalisation), and the response of each circuit as its mean change beyond that model. "
        "Coefficients were tested by "
        f"{design['n_permutations']} permutations (seed {content['seed']}) with family-wise "
        f"correction by the maximum statistic at alpha = {design['alpha']:g}, and equivalence by "
        f"two one-sided tests against {design['sesoi_z']:g} Fisher z.{_covariates(content)}"
    )
