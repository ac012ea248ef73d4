"""Write the outputs of a run under one strategy and one atlas: file names, files and table row."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids.input_types import input_type_of
from circuitshift.pipeline.bids.names import build_path
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import run_quality as quality
from circuitshift.pipeline.measure.parcellation import Parcellation
from circuitshift.pipeline.records import (
    AnalysisSettings,
    Registration,
    RetainedData,
    Run,
    Strategy,
)

__all__ = [
    "RunOutput",
    "command_record",
    "coverage_of",
    "desc_of",
    "estimator_of",
    "is_concatenated",
    "outputs_of",
    "runs_table",
    "stem_of",
    "write_product",
]


_RETAINED = tuple(RetainedData.__dataclass_fields__)
_SPACE_KEYS = ("space", "res", "cohort", "den")
_OUTPUT_ENTITIES = ("atlas", "seg", "stat", "desc")


@dataclass(frozen=True, slots=True)
class RunOutput:
    """Results of one run under one strategy and one atlas, before they are written.

    Parameters
    ----------
    atlas : Atlas
        Atlas of the regions.
    strategy : str
        Name of the denoising strategy.
    desc : str
        Value of ``desc-`` in file names; empty for the primary strategy.
    matrix : ndarray, shape (n_regions, n_regions)
        Correlations; NaN for missing regions.
    retained : RetainedData
        Numbers of volumes, minutes, degrees of freedom and motion.
    coverage : ndarray, shape (n_regions,), optional
        Share of the voxels of each region that have signal; None if the input is no image.
    parcels : Parcellation, optional
        Voxels of each region; None if the input is no image.
    series : ndarray, shape (n_retained, n_regions), optional
        Denoised series; None if the input is a matrix.
    keep : ndarray of bool, shape (n_volumes,), optional
        Whether each volume was retained.
    fd_mm : ndarray, shape (n_volumes,), optional
        Framewise displacement, mm.
    std_dvars : ndarray, shape (n_volumes,), optional
        Standardised DVARS.
    median_tsnr : float
        Median temporal signal-to-noise ratio over the voxels of the mask; NaN if unavailable.
    views : tuple of str
        Paths of images and figures for the participant report, relative to the output folder.
    notes : tuple of str
        For series and matrices of other programs, what was resolved while reading them.
    global_signal_removed : bool, optional
        Whether the global signal was regressed out; None if this is unknown.
    given : mapping of str to object
        For series and matrices of other programs, further content of the JSON file.
    reasons : tuple of (str, str), optional
        Keyword and sentence of each reason for an exclusion; None to apply the thresholds of
        `circuitshift.pipeline.measure.run_quality.exclude_run`.
    cut_at_min : float, optional
        Retained minutes of the run that are used; None if all are used.
    part_of : str
        Name of the visit in whose concatenated series this run is contained; empty otherwise.
    sources : tuple of str
        File names of the runs of which these are the concatenated series; empty for a run.
    amplitude_percent : ndarray, shape (n_regions,), optional
        Standard deviation of each denoised series before standardisation, in percent of the mean
        signal of the region (`percent_of_mean`); None if it is unknown for `series`.
    global_signal_percent : float
        Standard deviation of the mean over regions before denoising, in percent of the mean signal
        (`global_amplitude`); NaN if it is unknown.
    signal : ndarray, shape (n_regions,), optional
        Mean signal of each region as a share of the median over the brain; None if the input is no
        image with a brain mask and a mean signal.
    tsnr : ndarray, shape (n_regions,), optional
        Temporal signal-to-noise ratio before denoising, mean over the covered voxels of each
        region; None if the input is no image with a brain mask.
    registration : Registration
        Quality of the registration of the run; NaN if it is unknown.
    """

    atlas: Atlas
    strategy: str
    desc: str
    matrix: Floats
    retained: RetainedData
    coverage: Floats | None = None
    parcels: Parcellation | None = None
    series: Floats | None = None
    keep: npt.NDArray[np.bool_] | None = None
    fd_mm: Floats | None = None
    std_dvars: Floats | None = None
    median_tsnr: float = float("nan")
    views: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    global_signal_removed: bool | None = None
    given: Mapping[str, object] = field(default_factory=dict)
    reasons: tuple[tuple[str, str], ...] | None = None
    cut_at_min: float | None = None
    part_of: str = ""
    sources: tuple[str, ...] = ()
    amplitude_percent: Floats | None = None
    global_signal_percent: float = float("nan")
    signal: Floats | None = None
    tsnr: Floats | None = None
    registration: Registration = field(default_factory=Registration)


def global_amplitude(series: Floats, keep: npt.NDArray[np.bool_]) -> float:
    """Compute the amplitude of the global signal before denoising.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_regions)
        Regional series before denoising; NaN for missing regions.
    keep : ndarray of bool, shape (n_volumes,)
        Retained volumes.

    Returns
    -------
    float
        Standard deviation over the retained volumes of the mean over regions, each in percent of
        its temporal mean, after removal of a linear trend. NaN if no region has a positive mean
        that exceeds five standard deviations.
    """
    used = series[keep][:, np.isfinite(series[keep]).all(axis=0)]
    mean, deviation = used.mean(axis=0), used.std(axis=0)
    used, mean = used[:, mean > 5 * deviation], mean[mean > 5 * deviation]
    if not used.size or keep.sum() < 4:
        return float("nan")
    whole = 100 * (used / mean).mean(axis=1)
    time = np.flatnonzero(keep)
    trend = np.column_stack([np.ones(len(time)), time])
    left = whole - trend @ np.linalg.lstsq(trend, whole, rcond=None)[0]
    return float(left.std(ddof=2))


def percent_of_mean(
    deviation: Floats, series: Floats, keep: npt.NDArray[np.bool_] | None = None
) -> Floats | None:
    """Divide standard deviations by the temporal mean of each region, which removes scanner gain.

    Parameters
    ----------
    deviation : ndarray, shape (n_regions,)
        Standard deviations, in the unit of `series`.
    series : ndarray, shape (n_volumes, n_regions)
        Series from which the mean was not removed.
    keep : ndarray of bool, shape (n_volumes,), optional
        Volumes of which the mean is computed; all by default.

    Returns
    -------
    ndarray, shape (n_regions,), or None
        Percent of the mean; NaN for missing regions. None if the mean of most regions is less than
        five standard deviations, as in series whose mean was removed.
    """
    used = series if keep is None else series[keep]
    mean = used.mean(axis=0)
    with np.errstate(invalid="ignore"):
        has_mean = mean > 5 * deviation
    available = np.isfinite(deviation)
    if not available.any() or has_mean[available].mean() < 0.5:
        return None
    return np.where(has_mean, 100 * deviation / np.where(has_mean, mean, 1.0), np.nan)


def stem_of(run: Run) -> str:
    """Return the name of the source run: its entities without space, atlas and description."""
    pairs = [(k, v) for k, v in run.entities if k not in (*_SPACE_KEYS, *_OUTPUT_ENTITIES)]
    return "_".join(f"{k}-{v}" for k, v in pairs)


def outputs_of(run: Run, atlas: str, desc: str = "", estimator: str = "pearson") -> dict[str, Path]:
    """Return the paths of the outputs of a run, relative to the output folder.

    Parameters
    ----------
    run : Run
        Source run.
    atlas : str
        Name of the atlas.
    desc : str
        Value of ``desc-``, which is `Strategy.desc`; empty for the primary strategy.
    estimator : {"pearson", "partial"}
        Estimator of the edges.

    Returns
    -------
    dict of str to Path
        Paths with the keys ``timeseries``, ``relmat``, ``coverage``, ``outliers`` and ``motion``.
    """
    source = [(k, v) for k, v in run.entities if k not in (*_SPACE_KEYS, *_OUTPUT_ENTITIES)]
    spaced = [(k, v) for k, v in run.entities if k not in _OUTPUT_ENTITIES] + [("atlas", atlas)]
    tail = [("desc", desc)] if desc else []
    return {
        "timeseries": build_path([*spaced, ("stat", "mean"), *tail], "timeseries", ".tsv"),
        "relmat": build_path(
            [*spaced, ("stat", f"{estimator}correlation"), *tail], "relmat", ".tsv"
        ),
        "coverage": build_path([*spaced, ("stat", "coverage")], "bold", ".tsv"),
        "outliers": build_path([*source, *tail], "outliers", ".tsv"),
        "motion": build_path(source, "motion", ".tsv"),
    }


_MEASURES = {
    "pearson": "Pearson correlation coefficient",
    "partial": "Partial correlation coefficient, from the Ledoit-Wolf covariance",
}


def estimator_of(run: Run, settings: AnalysisSettings) -> str:
    """Return the estimator of the edges of a run.

    Matrices from other software contain Pearson correlations and are not converted.
    """
    return "pearson" if input_type_of(run).content == "matrix" else settings.estimator


def write_product(
    output: RunOutput,
    run: Run,
    settings: AnalysisSettings,
    *,
    out_dir: Path,
    sidecar: Mapping[str, object],
) -> dict[str, object]:
    """Write the outputs of a run and return its table row.

    The JSON file of the matrix is written last. It lists all other files, so that its existence
    shows that the outputs are complete.

    Parameters
    ----------
    output : RunOutput
        Results of the run.
    run : Run
        Source run.
    settings : AnalysisSettings
        Settings of the measurement.
    out_dir : Path
        Root of the output data set.
    sidecar : mapping
        Further content of the JSON file of the matrix.

    Returns
    -------
    dict
        Row of ``sub-X_runs.tsv``.
    """
    estimator = estimator_of(run, settings)
    files = outputs_of(run, output.atlas.name, output.desc, estimator)
    labels = output.atlas.labels
    missing = [
        label for label, r in zip(labels, np.diag(output.matrix), strict=True) if np.isnan(r)
    ]
    common: dict[str, object] = {
        "Sources": [f"bids:preprocessed:{name}" for name in output.sources or (run.path.name,)],
        "Atlas": output.atlas.name,
        "AtlasReference": output.atlas.reference,
        "DenoisingStrategy": output.strategy,
        "RepetitionTime": run.t_r_s,
    }
    if output.series is not None:
        about = common | {"SamplingFrequency": None if not run.t_r_s else 1 / run.t_r_s}
        if np.isfinite(output.global_signal_percent):
            about["GlobalSignalStandardDeviationPercent"] = round(output.global_signal_percent, 6)
        if output.amplitude_percent is not None:
            about["StandardDeviationPercent"] = _by_label(labels, output.amplitude_percent)
        if output.tsnr is not None:
            about["TemporalSignalToNoise"] = _by_label(labels, output.tsnr)
        tables.write_series(out_dir / files["timeseries"], labels, output.series, sidecar=about)
    if output.coverage is not None and output.parcels is not None:
        _write_coverage(out_dir / files["coverage"], output, output.parcels, settings)
    _write_motion(output, files, out_dir)
    row = _row(output, run, settings, missing) | {"relmat": files["relmat"].as_posix()}
    tables.write_matrix(out_dir / files["relmat"], labels, output.matrix)
    written = [files[name] for name in _written_files(output)]
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
            "RegionsMissing": missing,
            "GlobalSignalRemoved": output.global_signal_removed,
            **output.given,
            "InputNotes": list(output.notes),
            "Row": row,
            "Views": list(output.views),
            "Files": {path.as_posix(): tables.checksum(out_dir / path) for path in written},
            "Settings": asdict(settings.measuring()),
            **sidecar,
        },
    )
    return row


def _by_label(labels: Sequence[str], values: Floats) -> dict[str, float]:
    """Return one value of each region, rounded to six decimals."""
    return dict(zip(labels, values.round(6).tolist(), strict=True))


_COVERAGE_COLUMNS = {
    "Node": "Region",
    "coverage": "Share of the voxels of the region that have signal: they are within the brain "
    "mask and the field of view, change over time, and their mean is at least SignalFloor",
    "signal": "Mean signal of the region, as a share of the median over the brain, from the first "
    "volumes of the steady state; voxels outside the field of view count as 0",
    "tsnr": "Temporal signal-to-noise ratio before denoising, mean over the voxels that have "
    "signal",
}


def _write_coverage(
    path: Path, output: RunOutput, parcels: Parcellation, settings: AnalysisSettings
) -> None:
    """Write coverage, signal and temporal signal-to-noise ratio of each region."""
    unknown = np.full(len(parcels.atlas.regions), np.nan)
    columns: dict[str, Sequence[object] | Floats] = {
        "Node": output.atlas.labels,
        "coverage": coverage_of(output),
        "signal": unknown if output.signal is None else output.signal,
        "tsnr": unknown if output.tsnr is None else output.tsnr,
    }
    about: dict[str, object] = {k: {"Description": v} for k, v in _COVERAGE_COLUMNS.items()}
    about |= {
        # null: the image has no brain mask, or its mean was removed
        "SignalFloor": None if output.signal is None else settings.min_signal,
        "VoxelsClaimedBySeveralRegions": parcels.n_overlap,
        "VoxelsOutOfView": int(parcels.n_out_of_view.sum()),
        "VoxelsOutsideMask": int((parcels.n_voxels - parcels.n_in_mask).sum()),
    }
    tables.write_table(path, columns, sidecar=about)


def _written_files(output: RunOutput) -> list[str]:
    """Return the keys of the files that are written; the matrix is last."""
    moved = output.keep is not None and output.fd_mm is not None
    has = {
        "timeseries": output.series is not None,
        "coverage": output.coverage is not None and output.parcels is not None,
        "motion": moved,
        "outliers": moved,
        "relmat": True,
    }
    return [name for name, is_written in has.items() if is_written]


def _write_motion(output: RunOutput, files: Mapping[str, Path], out_dir: Path) -> None:
    if output.keep is None or output.fd_mm is None:
        return
    name = "framewise_displacement"
    columns: dict[str, Floats] = {name: output.fd_mm}
    about = {name: {"Description": "Framewise displacement (Power)", "Units": "mm"}}
    if output.std_dvars is not None:
        columns["std_dvars"] = output.std_dvars
        about["std_dvars"] = {
            "Description": "Standardised DVARS of the preprocessed images, from the confounds table"
        }
    tables.write_table(out_dir / files["motion"], columns, sidecar=about)
    tables.write_table(
        out_dir / files["outliers"],
        {name: (~output.keep).astype(int)},
        sidecar={
            name: {
                "Description": "1: censored or before the steady state; 0: retained"
                if output.cut_at_min is None
                else "1: censored, before the steady state, or after the first "
                f"{output.cut_at_min:g} retained minutes; 0: retained"
            }
        },
    )


def _row(
    output: RunOutput, run: Run, settings: AnalysisSettings, missing: Sequence[str]
) -> dict[str, object]:
    coverage = coverage_of(output)
    reasons = output.reasons
    if reasons is None:
        reasons = tuple(
            quality.exclude_run(output.retained, settings, coverage, output.registration)
        )
    notes = list(reasons)
    if output.part_of:
        notes = [("", f"part of the concatenated series of {output.part_of}")]
    elif output.sources:
        notes = [("concatenated", f"concatenated series of {', '.join(output.sources)}"), *notes]
    return {
        "run": stem_of(run),
        "session": run.session or None,
        "atlas": output.atlas.name,
        "strategy": output.strategy,
        "status": "excluded" if reasons else "combined" if output.part_of else "included",
        "code": "; ".join(code for code, _ in notes) or None,
        "reason": "; ".join(reason for _, reason in notes) or " ".join(output.notes) or None,
        **{name: getattr(output.retained, name) for name in _RETAINED},
        "median_tsnr": output.median_tsnr,
        "boundary_cost": output.registration.boundary_cost,
        "registration_disagreement_mm": output.registration.disagreement_mm,
        "n_regions": len(coverage),
        "n_regions_lost": len(missing),
        "global_signal_removed": output.global_signal_removed,
    }


def coverage_of(output: RunOutput) -> Floats:
    """Return the coverage of each region: 1 or 0 if it was not measured, shape (n_regions,)."""
    if output.coverage is not None:
        return output.coverage
    return np.where(np.isnan(np.diag(output.matrix)), 0.0, 1.0)


def is_concatenated(row: Mapping[str, object]) -> bool:
    """Return whether a row of ``sub-X_runs.tsv`` is the concatenated series of a visit."""
    return str(row.get("code")).startswith("concatenated")


def command_record(root: Path) -> Path:
    """Return the path of the record of the participant-level command."""
    return root / "logs" / "participant.json"


def runs_table(participant: str, out_dir: Path) -> Path:
    """Return the path of ``sub-X_runs.tsv``."""
    return out_dir / f"sub-{participant}" / f"sub-{participant}_runs.tsv"


def desc_of(strategy: Strategy, settings: AnalysisSettings) -> str:
    """Return the value of ``desc-`` for a strategy; empty for the primary strategy."""
    return "" if strategy.name == settings.strategies[0] else strategy.desc
