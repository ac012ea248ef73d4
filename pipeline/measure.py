"""One person's runs -> regional series, edges and quality, as files.

The file-level shell around `extract`, `denoise` and `connectivity`: it reads, calls, writes, and
turns every fault of one run into a row of ``sub-X_runs.tsv``, so that the other runs and people go
on. An output whose inputs, code and settings are unchanged is not computed again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline import (
    bids,
    connectivity,
    denoise,
    extract,
    quality,
    tables,
    views,
    voxels,
)
from circuitshift.pipeline.atlas_files import atlas_for, read_atlas
from circuitshift.pipeline.errors import (
    CircuitshiftError,
    Fault,
    InputError,
    OutputError,
    TableError,
)
from circuitshift.pipeline.nifti import Header, read_header
from circuitshift.pipeline.provenance import code_hash, inputs_hash
from circuitshift.pipeline.records import Kept, Run, Science, Strategy

__all__ = [
    "AS_GIVEN",
    "RUNS_COLUMNS",
    "PersonFiles",
    "is_measured",
    "measure_person",
    "outputs_of",
    "record_crash",
    "runs_table",
    "stem_of",
]

Floats = npt.NDArray[np.float64]

#: Strategy name of series and matrices that were denoised elsewhere.
AS_GIVEN = "as given"

#: Columns of ``sub-X_runs.tsv``, and what they mean.
RUNS_COLUMNS: dict[str, str] = {
    "run": "Name of the input file up to its suffix",
    "session": "Session label",
    "atlas": "Atlas name",
    "strategy": "Denoising strategy",
    "status": "included, excluded (measured, but below a threshold), or failed (not measured)",
    "code": "Why it is not included, as a word",
    "reason": "Why it is not included, as a sentence; a note when it is",
    "n_volumes": "Volumes in the run",
    "n_dummy": "Non-steady-state volumes dropped at its start",
    "n_censored": "Volumes censored for motion",
    "n_retained": "Volumes that entered connectivity",
    "minutes": "Retained volumes times repetition time, min",
    "n_regressors": "Rank of the nuisance regressors after filtering",
    "residual_dof": "Residual degrees of freedom; the weight of this run in its session",
    "mean_fd_mm": "Mean framewise displacement of the retained volumes, mm",
    "variance_removed": "Share of a region's variance that the regressors took, after detrending "
    "and filtering; median over regions",
    "median_tsnr": "Temporal signal-to-noise ratio before denoising, median over the voxels of the "
    "mask",
    "n_regions": "Regions of the atlas",
    "n_regions_lost": "Regions without enough signal; their edges are n/a",
    "relmat": "Edge matrix, relative to the output folder",
}

_KEPT = tuple(Kept.__dataclass_fields__)
_SPACE_KEYS = ("space", "res", "cohort", "den")
_MADE = ("atlas", "seg", "stat", "desc")


class PersonFiles(NamedTuple):
    """What `measure_person` makes."""

    runs: Path


@dataclass(frozen=True, slots=True)
class _Made:
    """One run under one strategy and one atlas, computed and not yet written."""

    atlas: Atlas
    strategy: str
    desc: str
    matrix: Floats
    kept: Kept
    coverage: Floats | None = None
    parcels: extract.Parcellation | None = None
    series: Floats | None = None
    keep: npt.NDArray[np.bool_] | None = None
    fd_mm: Floats | None = None
    std_dvars: Floats | None = None
    median_tsnr: float = float("nan")
    views: tuple[str, ...] = ()


def measure_person(
    runs: Sequence[Run],
    faults: Sequence[Fault],
    *,
    participant: str,
    science: Science,
    out_dir: Path,
) -> PersonFiles:
    """Measure every run of one person and write what was found.

    Parameters
    ----------
    runs : sequence of Run
        Of one person of one data set.
    faults : sequence of Fault
        What the index found wrong with this person; each becomes a row with status ``failed``.
    participant : str
        Label without ``sub-``.
    science : Science
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    PersonFiles
        ``sub-X_runs.tsv`` is written even when every run failed.
    """
    rows = [_failed(fault.where, "", "input", f"{fault.what}; {fault.fix}") for fault in faults]
    for run in runs:
        rows += _measure_or_say(run, science, out_dir)
    return PersonFiles(_write_rows(rows, participant, out_dir))


def record_crash(participant: str, reason: str, *, out_dir: Path) -> PersonFiles:
    """Add a row with status ``failed`` for an error that nobody foresaw.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    reason : str
        One sentence that says where the whole error is.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    PersonFiles
    """
    path = runs_table(participant, out_dir)
    before: list[dict[str, object]] = []
    if path.exists():
        before = [dict(row) for row in tables.read_table(path).rows() if row["code"] != "crash"]
    rows = [*before, _failed(f"sub-{participant}", "", "crash", reason)]
    return PersonFiles(_write_rows(rows, participant, out_dir))


def runs_table(participant: str, out_dir: Path) -> Path:
    """Return the path of ``sub-X_runs.tsv``."""
    return out_dir / f"sub-{participant}" / f"sub-{participant}_runs.tsv"


def _write_rows(rows: Sequence[Mapping[str, object]], participant: str, out_dir: Path) -> Path:
    path = runs_table(participant, out_dir)
    columns = {name: [row.get(name) for row in rows] for name in RUNS_COLUMNS}
    sidecar = {k: {"Description": v} for k, v in RUNS_COLUMNS.items()}
    tables.write_table(path, columns, sidecar=sidecar)
    return path


def _failed(where: str, session: str, code: str, reason: str) -> dict[str, object]:
    return {
        "run": Path(where).name or where,
        "session": session or None,
        "status": "failed",
        "code": code,
        "reason": reason,
    }


def is_measured(run: Run, science: Science, out_dir: Path) -> bool:
    """Tell whether all outputs of a run are there and valid, so that measuring would skip it.

    Parameters
    ----------
    run : Run
    science : Science
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    bool
    """
    checked, faults, _ = bids.check_run(run)
    if faults:
        return False
    return _finished(checked, science, out_dir, _key(checked, science)) is not None


def _measure_or_say(run: Run, science: Science, out_dir: Path) -> list[dict[str, object]]:
    """Measure one run; a fault becomes a row."""
    try:
        _refuse_vanished(run)
        run, faults, notes = bids.check_run(run)
        if faults:
            reason = "; ".join(f"{Path(f.where).name}: {f.what}; {f.fix}" for f in faults)
            return [_failed(stem_of(run), run.session, "input", reason)]
        key = _key(run, science)
        done = _finished(run, science, out_dir, key)
        if done is not None:
            return done
        rows: list[dict[str, object]] = []
        problems: list[dict[str, object]] = []
        for made in _DOORS[run.door](run, science, out_dir, problems):
            about = {**key, "Notes": [*notes, *_space_note(made.atlas, run)]}
            rows.append(_write(made, run, science, out_dir=out_dir, sidecar=about))
        return [*rows, *problems]
    except OutputError:  # no fault of this run: everything has to wait
        raise
    except CircuitshiftError as error:
        return [_failed(stem_of(run), run.session, _code(error), str(error))]
    except OSError as error:
        if error.filename is None:
            raise
        reason = f"{error.filename}: it cannot be read ({error.strerror}); see to the disk it is on"
        return [_failed(stem_of(run), run.session, "input", reason)]


def _refuse_vanished(run: Run) -> None:
    """Say which file of a run has gone since the data set was indexed."""
    files = [path for path in (run.path, run.mask, run.confounds) if path is not None]
    gone = [path for path in files if not path.exists()]
    if gone:
        raise InputError(
            f"{', '.join(map(str, gone))}: gone since the data set was indexed; fetch or write it "
            "again"
        )


def _space_note(atlas: Atlas, run: Run) -> list[str]:
    """Say that an image and its atlas are in different template spaces."""
    if run.door != "bold" or not (atlas.space and run.space) or atlas.space == run.space:
        return []
    return [
        f"Atlas {atlas.name} is in {atlas.space} and the images are in {run.space}: regions are "
        "displaced by up to a few millimetres."
    ]


def _code(error: CircuitshiftError) -> str:
    """``TooLittleDataError`` becomes ``too-little-data``."""
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).strip("-")


def stem_of(run: Run) -> str:
    """Name of the source run: its file name without what an output adds."""
    pairs = [(k, v) for k, v in run.entities if k not in (*_SPACE_KEYS, *_MADE)]
    return "_".join(f"{k}-{v}" for k, v in pairs)


def outputs_of(run: Run, atlas: str, desc: str = "", estimator: str = "pearson") -> dict[str, Path]:
    """Paths of what is written for a run, relative to the output folder.

    Parameters
    ----------
    run : Run
    atlas : str
        Atlas name.
    desc : str
        `Strategy.desc`; empty for the primary strategy.
    estimator : {"pearson", "partial"}

    Returns
    -------
    dict
        Keys ``timeseries``, ``relmat``, ``coverage``, ``outliers`` and ``motion``.
    """
    source = [(k, v) for k, v in run.entities if k not in (*_SPACE_KEYS, *_MADE)]
    spaced = [(k, v) for k, v in run.entities if k not in _MADE] + [("atlas", atlas)]
    tail = [("desc", desc)] if desc else []
    return {
        "timeseries": bids.build_path([*spaced, ("stat", "mean"), *tail], "timeseries", ".tsv"),
        "relmat": bids.build_path(
            [*spaced, ("stat", f"{estimator}correlation"), *tail], "relmat", ".tsv"
        ),
        "coverage": bids.build_path([*spaced, ("stat", "coverage")], "bold", ".tsv"),
        "outliers": bids.build_path([*source, *tail], "outliers", ".tsv"),
        "motion": bids.build_path(source, "motion", ".tsv"),
    }


_MEASURES = {
    "pearson": "Pearson correlation coefficient",
    "partial": "Partial correlation coefficient, from the Ledoit-Wolf covariance",
}


def _estimator(run: Run, science: Science) -> str:
    """Return the estimator of a run's edges; matrices are found as Pearson's and stay so."""
    return "pearson" if run.door == "relmat" else science.estimator


def _key(run: Run, science: Science) -> dict[str, str]:
    """Hashes that decide whether an output is still valid."""
    files = [Path(name) for name in (*science.atlases, *science.strategy_files)]
    inputs = inputs_hash(
        (run.path, run.mask, run.confounds, *(file for file in files if file.is_file())),
        run.t_r_s,
        run.entities,
    )
    return {
        "InputsHash": inputs,
        "CodeHash": code_hash(),
        "ScienceHash": science.measuring().digest(),
    }


def _wanted(run: Run, science: Science) -> list[tuple[str, str, str]]:
    """Atlas, strategy and desc of every product of a run."""
    if run.door != "bold":
        return [(run.atlas, AS_GIVEN, "")]
    strategies = _strategies(science)
    return [
        (atlas_for(source, run.space).name, strategy.name, desc_of(strategy, science))
        for source in science.atlases
        for strategy in strategies
    ]


def desc_of(strategy: Strategy, science: Science) -> str:
    """``desc-`` label of a strategy: empty for the primary one."""
    return "" if strategy.name == science.strategies[0] else strategy.desc


def _strategies(science: Science) -> list[Strategy]:
    known = denoise.load_strategies(tuple(map(Path, science.strategy_files)))
    return [denoise.get_strategy(name, known) for name in science.strategies]


def _finished(
    run: Run, science: Science, out_dir: Path, key: Mapping[str, str]
) -> list[dict[str, object]] | None:
    """Rows of a run whose outputs are all there and still valid; else None."""
    rows: list[dict[str, object]] = []
    for atlas, _, desc in _wanted(run, science):
        files = outputs_of(run, atlas, desc, _estimator(run, science))
        try:
            content = tables.read_json((out_dir / files["relmat"]).with_suffix(".json"))
        except TableError:  # not there, or no longer whole
            return None
        if "Files" not in content or any(content.get(name) != value for name, value in key.items()):
            return None
        if not all(_is_whole(out_dir / name, seen) for name, seen in content["Files"].items()):
            return None
        if not all((out_dir / name).exists() for name in content.get("Views", ())):
            return None
        rows.append(dict(content["Row"]))
    return rows


def _is_whole(path: Path, seen: str) -> bool:
    """Compare a file with the checksum of what was written."""
    try:
        return tables.checksum(path) == seen
    except OSError:
        return False


def _from_bold(
    run: Run, science: Science, out_dir: Path, problems: list[dict[str, object]]
) -> Iterable[_Made]:
    """Extract once, then clean under every strategy; a strategy that fails becomes a row."""
    assert run.t_r_s is not None  # noqa: S101 - for the type checker; check_run saw to it
    mask = None if run.mask is None else extract.read_mask(run.mask)
    atlases = [atlas_for(source, run.space) for source in science.atlases]
    parts = [_parcellation(atlas, run, mask) for atlas in atlases]
    inside = None if mask is None else mask[0]
    watch = views.Watch.of(run, inside, science.dummy_scans)
    found, blocks, spheres = _extracted(run, parts, watch)
    for strategy in _strategies(science):
        try:
            regressors = _regressors(run, strategy, science, found.n_volumes)
            seen: list[str] = []
            if blocks is not None and strategy.name == science.strategies[0]:
                seen = views.write_views(
                    run,
                    (blocks, spheres),
                    parts[0],
                    regressors=regressors,
                    strategy=strategy,
                    out_dir=out_dir,
                )
            for part, raw, coverage in zip(parts, found.series, found.coverage, strict=False):
                series = np.where(coverage >= science.min_coverage, raw, np.nan)
                cleaned, kept = denoise.clean(series, regressors, strategy, run.t_r_s)
                yield _Made(
                    part.atlas,
                    strategy.name,
                    desc_of(strategy, science),
                    connectivity.correlation(cleaned, science.estimator),
                    kept,
                    coverage,
                    part,
                    cleaned,
                    regressors.keep,
                    regressors.fd_mm,
                    regressors.std_dvars,
                    float("nan") if blocks is None else blocks.median_tsnr,
                    tuple(seen),
                )
        except CircuitshiftError as error:
            row = _failed(stem_of(run), run.session, _code(error), str(error))
            problems.append(row | {"strategy": strategy.name})


def _extracted(
    run: Run, parts: Sequence[extract.Parcellation], watch: views.Watch | None
) -> tuple[extract.Extraction, voxels.Blocks | None, Floats | None]:
    """Read the run once: regional series, then blocks of voxels and the series of the seeds."""
    if watch is None:
        return extract.extract(run.path, parts), None, None
    seeds = [] if watch.seeds is None else [watch.seeds]
    found = extract.extract(run.path, [*parts, *seeds], followers=[watch.voxels])
    return found, watch.voxels.blocks(), found.series[len(parts)] if seeds else None


def _parcellation(
    atlas: Atlas, run: Run, mask: tuple[npt.NDArray[np.bool_], Header] | None
) -> extract.Parcellation:
    """Place an atlas on the grid of a run."""
    if mask is None:
        header = read_header(run.path)
        return extract.parcellate(atlas, header.affine, header.grid, None)
    inside, header = mask
    return extract.parcellate(atlas, header.affine, header.grid, inside)


def _regressors(
    run: Run, strategy: Strategy, science: Science, n_volumes: int
) -> denoise.Regressors:
    assert run.confounds is not None  # noqa: S101 - for the type checker; the index saw to it
    return denoise.load_regressors(
        run.confounds, strategy, n_volumes=n_volumes, dummy_scans=science.dummy_scans
    )


def _from_series(
    run: Run, science: Science, out_dir: Path, problems: list[dict[str, object]]
) -> Iterable[_Made]:
    """Edges of somebody's regional series, which are taken as they are."""
    del problems
    labels, given = tables.read_series(run.path)
    atlas = _atlas_of(run, out_dir)
    series = _in_order(run, atlas, labels, given.T).T
    n = len(series)
    minutes = np.nan if run.t_r_s is None else n * run.t_r_s / 60
    kept = Kept(n, 0, 0, n, minutes, 0, float(n), float("nan"))
    matrix = connectivity.correlation(series, science.estimator)
    yield _Made(atlas, AS_GIVEN, "", matrix, kept, series=series)


def _from_matrix(
    run: Run, science: Science, out_dir: Path, problems: list[dict[str, object]]
) -> Iterable[_Made]:
    """Somebody's edge matrix, which is taken as it is."""
    del science, problems
    labels, given = tables.read_matrix(run.path)
    atlas = _atlas_of(run, out_dir)
    if np.nanmax(np.abs(given), initial=0.0) > 1 + 1e-6:
        raise TableError(
            f"{run.path}: it holds values beyond +-1; give correlations (r), not Fisher z"
        )
    rows = _in_order(run, atlas, labels, given)
    matrix = _in_order(run, atlas, labels, rows.T).T
    nan = float("nan")
    yield _Made(atlas, AS_GIVEN, "", matrix, Kept(0, 0, 0, 0, nan, 0, 1.0, nan))


_DOORS = {"bold": _from_bold, "timeseries": _from_series, "relmat": _from_matrix}


def _in_order(run: Run, atlas: Atlas, labels: Sequence[str], rows: Floats) -> Floats:
    """Put rows in the order of the atlas, by name; a region that is not there is NaN."""
    place = {label: k for k, label in enumerate(labels)}
    extra = sorted(set(labels) - set(atlas.labels))
    if extra:
        raise TableError(
            f"{run.path}: {len(extra)} of its columns are not in atlas {atlas.name} "
            f"({', '.join(extra[:5])}{', ...' * (len(extra) > 5)}); give the atlas that it was "
            "made with by --atlas"
        )
    out = np.full((len(atlas.regions), rows.shape[1]), np.nan)
    for k, label in enumerate(atlas.labels):
        if label in place:
            out[k] = rows[place[label]]
    return out


def _write(
    made: _Made, run: Run, science: Science, *, out_dir: Path, sidecar: Mapping[str, object]
) -> dict[str, object]:
    """Write one product and return its row; the matrix comes last, it says that all is there."""
    estimator = _estimator(run, science)
    files = outputs_of(run, made.atlas.name, made.desc, estimator)
    labels = made.atlas.labels
    lost = [label for label, r in zip(labels, np.diag(made.matrix), strict=True) if np.isnan(r)]
    common: dict[str, object] = {
        "Sources": [f"bids:preprocessed:{run.path.name}"],
        "Atlas": made.atlas.name,
        "AtlasReference": made.atlas.reference,
        "DenoisingStrategy": made.strategy,
        "RepetitionTime": run.t_r_s,
    }
    if made.series is not None:
        about = common | {"SamplingFrequency": None if not run.t_r_s else 1 / run.t_r_s}
        tables.write_series(out_dir / files["timeseries"], labels, made.series, sidecar=about)
    if made.coverage is not None and made.parcels is not None:
        tables.write_table(
            out_dir / files["coverage"],
            {"Node": labels, "coverage": made.coverage},
            sidecar={
                "Node": {"Description": "Region"},
                "coverage": {"Description": "Share of the region's voxels that carry signal"},
                "VoxelsClaimedBySeveralRegions": made.parcels.n_overlap,
                "VoxelsOutOfView": int(made.parcels.n_out_of_view.sum()),
                "VoxelsOutsideMask": int((made.parcels.n_voxels - made.parcels.n_in_mask).sum()),
            },
        )
    _write_motion(made, files, out_dir)
    row = _row(made, run, science, lost) | {"relmat": files["relmat"].as_posix()}
    tables.write_matrix(out_dir / files["relmat"], labels, made.matrix)
    written = [files[name] for name in _written(made)]
    written += [path.with_suffix(".json") for path in written if path != files["relmat"]]
    tables.write_json(
        (out_dir / files["relmat"]).with_suffix(".json"),
        {
            "RelationshipMeasure": _MEASURES[estimator],
            "Weighted": True,
            "Directed": False,
            "ValidDiagonal": False,
            "StorageFormat": "Full",
            **common,
            "RegionsLost": lost,
            "Row": row,
            "Views": list(made.views),
            "Preprocessing": views.preprocessed_by(run) if run.door == "bold" else "",
            "PreprocessingReport": views.fmriprep_report(run, out_dir),
            "Files": {path.as_posix(): tables.checksum(out_dir / path) for path in written},
            "Science": asdict(science),
            **sidecar,
        },
    )
    return row


def _written(made: _Made) -> list[str]:
    """Name the outputs of a product, the matrix last."""
    moved = made.keep is not None and made.fd_mm is not None
    has = {
        "timeseries": made.series is not None,
        "coverage": made.coverage is not None,
        "motion": moved,
        "outliers": moved,
        "relmat": True,
    }
    return [name for name, is_there in has.items() if is_there]


def _write_motion(made: _Made, files: Mapping[str, Path], out_dir: Path) -> None:
    if made.keep is None or made.fd_mm is None:
        return
    name = "framewise_displacement"
    columns: dict[str, Floats] = {name: made.fd_mm}
    about = {name: {"Description": "Framewise displacement (Power)", "Units": "mm"}}
    if made.std_dvars is not None:
        columns["std_dvars"] = made.std_dvars
        about["std_dvars"] = {
            "Description": "Standardised DVARS of the preprocessed images, from the confounds table"
        }
    tables.write_table(out_dir / files["motion"], columns, sidecar=about)
    tables.write_table(
        out_dir / files["outliers"],
        {name: (~made.keep).astype(int)},
        sidecar={name: {"Description": "1: left out (motion or non-steady state), 0: kept"}},
    )


def _row(made: _Made, run: Run, science: Science, lost: Sequence[str]) -> dict[str, object]:
    coverage = made.coverage
    if coverage is None:
        coverage = np.where(np.isnan(np.diag(made.matrix)), 0.0, 1.0)
    reasons = quality.exclude_run(made.kept, science, coverage)
    return {
        "run": stem_of(run),
        "session": run.session or None,
        "atlas": made.atlas.name,
        "strategy": made.strategy,
        "status": "excluded" if reasons else "included",
        "code": "; ".join(code for code, _ in reasons) or None,
        "reason": "; ".join(reason for _, reason in reasons) or None,
        **{name: getattr(made.kept, name) for name in _KEPT},
        "median_tsnr": made.median_tsnr,
        "n_regions": len(coverage),
        "n_regions_lost": len(lost),
    }


def _atlas_of(run: Run, out_dir: Path) -> Atlas:
    return read_atlas(out_dir, run.atlas)
