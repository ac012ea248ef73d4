"""What is written for a run under one strategy and one atlas: names, files, its row."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
from circuitshift.pipeline.records import AnalysisSettings, RetainedData, Run, Strategy

__all__ = [
    "RunOutput",
    "command_record",
    "desc_of",
    "estimator_of",
    "outputs_of",
    "runs_table",
    "stem_of",
    "write_product",
]


_KEPT = tuple(RetainedData.__dataclass_fields__)
_SPACE_KEYS = ("space", "res", "cohort", "den")
_MADE = ("atlas", "seg", "stat", "desc")


@dataclass(frozen=True, slots=True)
class RunOutput:
    """One run under one strategy and one atlas, computed and not yet written."""

    atlas: Atlas
    strategy: str
    desc: str
    matrix: Floats
    kept: RetainedData
    coverage: Floats | None = None
    parcels: Parcellation | None = None
    series: Floats | None = None
    keep: npt.NDArray[np.bool_] | None = None
    fd_mm: Floats | None = None
    std_dvars: Floats | None = None
    median_tsnr: float = float("nan")
    views: tuple[str, ...] = ()


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
    """Return the estimator of a run's edges; matrices are found as Pearson's and stay so."""
    return "pearson" if input_type_of(run).content == "matrix" else settings.estimator


def write_product(
    made: RunOutput,
    run: Run,
    settings: AnalysisSettings,
    *,
    out_dir: Path,
    sidecar: Mapping[str, object],
) -> dict[str, object]:
    """Write one product and return its row; the matrix comes last, it says that all is there."""
    estimator = estimator_of(run, settings)
    files = outputs_of(run, made.atlas.name, made.desc, estimator)
    labels = made.atlas.labels
    missing = [label for label, r in zip(labels, np.diag(made.matrix), strict=True) if np.isnan(r)]
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
    row = _row(made, run, settings, missing) | {"relmat": files["relmat"].as_posix()}
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
            "RegionsMissing": missing,
            "Row": row,
            "Views": list(made.views),
            "Files": {path.as_posix(): tables.checksum(out_dir / path) for path in written},
            "Settings": asdict(settings.measuring()),
            **sidecar,
        },
    )
    return row


def _written(made: RunOutput) -> list[str]:
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


def _write_motion(made: RunOutput, files: Mapping[str, Path], out_dir: Path) -> None:
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


def _row(
    made: RunOutput, run: Run, settings: AnalysisSettings, missing: Sequence[str]
) -> dict[str, object]:
    coverage = made.coverage
    if coverage is None:
        coverage = np.where(np.isnan(np.diag(made.matrix)), 0.0, 1.0)
    reasons = quality.exclude_run(made.kept, settings, coverage)
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
        "n_regions_missing": len(missing),
    }


def command_record(root: Path) -> Path:
    """Path of the record of the command that measured a study."""
    return root / "logs" / "participant.json"


def runs_table(participant: str, out_dir: Path) -> Path:
    """Return the path of ``sub-X_runs.tsv``."""
    return out_dir / f"sub-{participant}" / f"sub-{participant}_runs.tsv"


def desc_of(strategy: Strategy, settings: AnalysisSettings) -> str:
    """``desc-`` label of a strategy: empty for the primary one."""
    return "" if strategy.name == settings.strategies[0] else strategy.desc
