"""Denoise regional time series: load strategies, select regressors, and clean series.

Denoising is linear. It is therefore applied to regional means, which gives the same values as
denoising each voxel first and takes a thousandth of the time. The steps follow
`nilearn.signal.clean`: series and regressors are detrended and filtered in the same way, then
volumes are censored, then the regressors are projected out. With this order, no step reintroduces
artefacts that another step has removed (Lindquist 2019, doi:10.1002/hbm.24528).
"""

import difflib
import tempfile
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids.runs.confound_columns import select_columns
from circuitshift.pipeline.bids.runs.confound_values import check_confounds, check_displacement
from circuitshift.pipeline.errors import (
    ConfoundsError,
    InputError,
    InputProblem,
    InputProblemsError,
    TableError,
    TooLittleDataError,
)
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import filters as filtering
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings, RetainedData, Strategy

__all__ = [
    "MIN_DOF",
    "Regressors",
    "clean",
    "count_dummy",
    "get_strategy",
    "load_regressors",
    "load_strategies",
]


#: Data files that this module reads, relative to its folder (`io.provenance.code_hash`).
PACKAGE_DATA = ("strategies.toml",)
#: Residual degrees of freedom below which no correlation is estimated, because the standard error
#: of a Fisher z, 1 / sqrt(dof - 3), would exceed .37.
MIN_DOF = 10.0

# fMRIPrep writes no cosine regressors for runs that are too short for them. Below this number of
# volumes, missing cosines are attributed to the length of the run.
_MAX_SHORT_VOLUMES = 60

_GSR_COUNTERPART = "+gsr"
_FD = "framewise_displacement"
_DVARS = "std_dvars"
_DUMMY = "non_steady_state_outlier"


@dataclass(frozen=True, slots=True, eq=False)
class Regressors:
    """Nuisance regressors and retained volumes of one run under one strategy.

    Parameters
    ----------
    values : ndarray, shape (n_volumes, n_regressors)
        Nuisance regressors.
    names : tuple of str
        Names of the regressors in the confounds table.
    keep : ndarray of bool, shape (n_volumes,)
        False for volumes that are censored or before the steady state.
    fd_mm : ndarray, shape (n_volumes,)
        Framewise displacement, mm; NaN where it is missing, as for the first volume.
    n_dummy : int
        Number of volumes before the steady state.
    std_dvars : ndarray, shape (n_volumes,), optional
        Standardised DVARS; None if the table does not contain it.
    """

    values: Floats
    names: tuple[str, ...]
    keep: npt.NDArray[np.bool_]
    fd_mm: Floats
    n_dummy: int
    std_dvars: Floats | None = None


def load_strategies(files: Sequence[Path] = ()) -> dict[str, Strategy]:
    """Read the packaged denoising strategies and those of additional files.

    Each strategy without global signal regression has a counterpart with global signal regression,
    named ``<name>+gsr``.

    Parameters
    ----------
    files : sequence of Path
        TOML files in the format of ``strategies.toml``. A strategy replaces an earlier one with the
        same name.

    Returns
    -------
    dict of str to Strategy
        Strategies by name.

    Raises
    ------
    TableError, InputProblemsError
        If a file cannot be read, or a strategy is not valid.
    """
    out: dict[str, Strategy] = {}
    for path in (Path(__file__).with_name(PACKAGE_DATA[0]), *files):
        out |= {strategy.name: strategy for strategy in _parsed(path, tables.read_text(path))}
    return out


@lru_cache(maxsize=8)
def _parsed(path: Path, text: str) -> tuple[Strategy, ...]:
    """Return the strategies of a TOML file; cached, because parsing takes 5 ms."""
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise TableError(f"{path}: the file is not TOML ({error}); correct its syntax") from None
    problems: list[InputProblem] = []
    for name, table in content.items():
        problems += _problems(path, name, table)
    if problems:
        raise InputProblemsError(f"{path.name} cannot be used", problems)
    out = []
    for name, table in content.items():
        strategy = _strategy(name, table)
        out.append(strategy)
        if not strategy.gsr:
            out.append(_strategy(name + _GSR_COUNTERPART, _with_global_signal(table)))
    return tuple(out)


_KEYS: dict[str, tuple[type, ...]] = {
    "load": (dict,),
    "low_pass_hz": (float, int),
    "high_pass_hz": (float, int),
    "fd_threshold_mm": (float, int),
    "prose": (str,),
    "reference": (str,),
}


def _problems(path: Path, name: str, table: object) -> list[InputProblem]:
    where = f"{path}, [{name}]"
    if not isinstance(table, dict):
        return [InputProblem(where, "it is not a table", "write [name] and its keys below")]
    problems = []
    for key, value in table.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(_KEYS)}"
            problems.append(InputProblem(where, f"key {key!r} is unknown", hint))
        elif not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            problems.append(
                InputProblem(where, f"{key} = {value!r}", "see docs/denoising.md for valid values")
            )
    problems += [
        InputProblem(where, f"key {key!r} is missing", "see docs/denoising.md")
        for key in ("load", "prose", "reference")
        if key not in table
    ]
    return problems


def _strategy(name: str, table: Mapping[str, Any]) -> Strategy:
    load = {k: tuple(v) if isinstance(v, list) else v for k, v in table["load"].items()}
    return Strategy(
        name=name,
        load=tuple(sorted(load.items())),
        low_pass_hz=table.get("low_pass_hz"),
        high_pass_hz=table.get("high_pass_hz"),
        fd_threshold_mm=table.get("fd_threshold_mm"),
        prose=" ".join(table["prose"].split()),
        reference=table["reference"],
        gsr="global_signal" in load.get("strategy", ()),
    )


def _with_global_signal(table: Mapping[str, Any]) -> dict[str, Any]:
    load = dict(table["load"])
    load["strategy"] = [*load.get("strategy", []), "global_signal"]
    load.setdefault("global_signal", "basic")
    prose = table["prose"].strip() + " The global signal was regressed out as well."
    return {**table, "load": load, "prose": prose}


def get_strategy(name: str, strategies: Mapping[str, Strategy]) -> Strategy:
    """Return a strategy by name.

    Parameters
    ----------
    name : str
        Name of the strategy.
    strategies : mapping of str to Strategy
        Strategies from `load_strategies`.

    Returns
    -------
    Strategy

    Raises
    ------
    InputError
        If there is no such strategy; the message suggests the most similar name.
    """
    if name in strategies:
        return strategies[name]
    near = difflib.get_close_matches(name.lower(), strategies, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    available = ", ".join(map(repr, strategies))
    raise InputError(f"denoising strategy {name!r} is unknown{hint} Choose from {available}")


def load_regressors(
    confounds: Path,
    strategy: Strategy,
    *,
    n_volumes: int | None = None,
    dummy_scans: int | None = None,
) -> Regressors:
    """Select the regressors of a strategy from a confounds table of fMRIPrep, as nilearn does.

    Parameters
    ----------
    confounds : Path
        ``*_desc-confounds_timeseries.tsv`` or ``*_regressors.tsv``, in the same folder as its JSON
        file.
    strategy : Strategy
        Denoising strategy.
    n_volumes : int, optional
        Number of volumes of the image, which must equal the number of rows of the table.
    dummy_scans : int, optional
        Number of volumes to drop at the start. Default: the volumes marked by the
        non-steady-state columns of the table.

    Returns
    -------
    Regressors
        Nuisance regressors and retained volumes.

    Raises
    ------
    ConfoundsError
        If columns are missing, which are all listed, the table does not match the image, or
        values cannot be right, such as a negative framewise displacement.
    TooLittleDataError
        If no volume is retained, or the run is too short for the strategy.
    """
    table = tables.read_table(confounds)
    if n_volumes is not None and table.n_rows != n_volumes:
        raise ConfoundsError(
            f"{confounds}: the table has {table.n_rows} rows, but the image has {n_volumes} "
            "volumes; check that they belong to the same run and that both files are complete"
        )
    n = table.n_rows
    n_dummy = _n_dummy(table, dummy_scans)
    fd = table.numbers(_FD) if _FD in table.columns else np.full(n, np.nan)
    check_displacement(confounds, fd)
    keep = np.arange(n) >= n_dummy
    if strategy.fd_threshold_mm is not None:
        if _FD not in table.columns:
            raise ConfoundsError(
                f"{confounds}: the column {_FD} is missing, which strategy {strategy.name} needs "
                "for censoring; choose another strategy by --denoise, or run fMRIPrep again"
            )
        keep &= ~(fd > strategy.fd_threshold_mm)
    if not keep.any():
        raise TooLittleDataError(
            f"{confounds}: strategy {strategy.name} leaves none of {n} volumes; exclude the run, "
            "or choose another strategy by --denoise"
        )
    names, values = _select(table, strategy)
    if n < 2:
        raise ConfoundsError(
            f"{confounds}: the table has {n} row of values and is incomplete; fetch it again"
        )
    dvars = table.numbers(_DVARS) if _DVARS in table.columns else None
    return Regressors(values, names, keep, fd, n_dummy, dvars)


def count_dummy(confounds: Path, dummy_scans: int | None = None) -> int:
    """Count the volumes before the steady state.

    Parameters
    ----------
    confounds : Path
        Confounds table of fMRIPrep.
    dummy_scans : int, optional
        Number of volumes to drop at the start. Default: the volumes marked by the
        non-steady-state columns of the table.

    Returns
    -------
    int
        Number of volumes, at most the number of rows of the table.
    """
    return _n_dummy(tables.read_table(confounds), dummy_scans)


def _n_dummy(table: tables.Table, dummy_scans: int | None) -> int:
    """Count the volumes up to the last one that fMRIPrep marks as before the steady state."""
    if dummy_scans is not None:
        return min(dummy_scans, table.n_rows)
    columns = [name for name in table.columns if name.startswith(_DUMMY)]
    if not columns:
        return 0
    marked = np.flatnonzero(np.sum([table.numbers(name) for name in columns], axis=0) > 0)
    return int(marked.max()) + 1 if marked.size else 0


def _select(table: tables.Table, strategy: Strategy) -> tuple[tuple[str, ...], Floats]:
    """Select the columns of a strategy, and check that they are complete."""
    load = dict(strategy.load)
    families = load.get("strategy", ())
    if not families:
        return (), np.empty((table.n_rows, 0))
    if load.get("ica_aroma") == "full":
        raise InputError(
            f"strategy {strategy.name}: ica_aroma = 'full' requires an image that is already "
            "denoised; use 'basic'"
        )
    missing = _missing(table, load)
    is_short = table.n_rows < _MAX_SHORT_VOLUMES
    if is_short and missing and all("cosine" in name for name in missing):
        raise TooLittleDataError(
            f"{table.path}: {table.n_rows} volumes are too few for connectivity, because slow "
            "drift cannot be distinguished from signal within 128 s; exclude the run"
        )
    if missing:
        raise _unusable(table.path, strategy, f"columns {', '.join(missing)} are missing")
    sidecar = table.path.with_suffix(".json")
    if "compcor" in families and not sidecar.exists():
        reason = f"the JSON file that lists the masks of aCompCor, {sidecar.name}, is missing"
        raise _unusable(table.path, strategy, reason)
    names, values = select_columns(table, sidecar, load) or _load(table, sidecar, strategy)
    for family in families:
        if not any(_belongs(name, family) for name in names):
            raise _unusable(table.path, strategy, f"it has no columns of type {family}")
    used = dict(zip(names, values.T, strict=True))
    invalid = [name for name, column in used.items() if np.isnan(column).any()]
    if invalid:
        reason = f"columns {', '.join(invalid[:5])} contain n/a after the first volume"
        raise _unusable(table.path, strategy, reason)
    check_confounds(table.path, used)
    return names, values


def _load(table: tables.Table, sidecar: Path, strategy: Strategy) -> tuple[tuple[str, ...], Floats]:
    """Load confounds by nilearn, or raise an error with what it says about the table."""
    try:
        return _load_by_nilearn(table.path, sidecar, dict(strategy.load))
    except Exception as error:  # nilearn raises many kinds
        raise _unusable(table.path, strategy, " ".join(str(error).split())) from error


def _load_by_nilearn(
    confounds: Path, sidecar: Path, load: Mapping[str, Any]
) -> tuple[tuple[str, ...], Floats]:
    """Load confounds by `nilearn.interfaces.fmriprep.load_confounds`, if `select_columns` cannot.

    nilearn finds the table by the name of the image. Therefore, the table and its JSON file are
    linked into a temporary folder under names of fMRIPrep.
    """
    # the import takes three seconds
    from nilearn.interfaces.fmriprep import load_confounds  # noqa: PLC0415

    with _folder_without("tsv") as folder:
        stem = folder / "sub-01_task-rest"
        image = Path(f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz")
        image.touch()
        Path(f"{stem}_desc-confounds_timeseries.tsv").symlink_to(confounds.resolve())
        if sidecar.exists():
            Path(f"{stem}_desc-confounds_timeseries.json").symlink_to(sidecar.resolve())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame, _ = load_confounds(str(image), demean=False, **load)
    return tuple(map(str, frame.columns)), np.asarray(frame.to_numpy(), float)


@contextmanager
def _folder_without(word: str) -> Iterator[Path]:
    """Create a temporary folder whose path does not contain a word.

    nilearn 0.14 finds the JSON file by replacing each "tsv" in the path, also in the names of
    folders. One of about 8000 random folder names contains this word.
    """
    if word in tempfile.gettempdir():
        raise InputError(
            f"the path of the folder for temporary files, {tempfile.gettempdir()}, contains "
            f"'{word}', so that nilearn cannot find files in it; set TMPDIR to another folder"
        )
    while True:
        with tempfile.TemporaryDirectory() as folder:
            if word not in folder:
                yield Path(folder)
                return


#: Columns that each type of regressors of nilearn needs at least.
_FAMILIES = {
    "motion": ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"),
    "high_pass": ("cosine00",),
    "wm_csf": ("csf", "white_matter"),
    "global_signal": ("global_signal",),
    "compcor": (),
    "ica_aroma": (),
}
#: Beginnings of the column names of a type, if they differ from the columns of `_FAMILIES`.
_BEGINNINGS = {
    "high_pass": ("cosine",),
    "compcor": ("a_comp_cor", "t_comp_cor", "w_comp_cor", "c_comp_cor"),
    "ica_aroma": ("aroma_motion",),
}
_ENDINGS = {
    "basic": (),
    "derivatives": ("_derivative1",),
    "power2": ("_power2",),
    "full": ("_derivative1", "_power2", "_derivative1_power2"),
}


def _belongs(column: str, family: str) -> bool:
    beginnings = _BEGINNINGS.get(family) or _FAMILIES.get(family)
    return beginnings is None or column.startswith(beginnings)


def _missing(table: tables.Table, load: Mapping[str, Any]) -> list[str]:
    """List the columns that a strategy needs and the table does not contain."""
    needed: list[str] = []
    for family in load["strategy"]:
        first = _FAMILIES.get(family, ())
        endings = _ENDINGS.get(str(load.get(family, "basic")), ())
        needed += [*first, *(name + end for name in first for end in endings)]
        if not any(_belongs(name, family) for name in table.columns):
            needed += [f"{beginning}*" for beginning in _BEGINNINGS.get(family, ())[:1]]
    return [name for name in dict.fromkeys(needed) if name not in table.columns]


def _unusable(confounds: Path, strategy: Strategy, reason: str) -> ConfoundsError:
    return ConfoundsError(
        f"{confounds}: strategy {strategy.name} cannot be used: {reason}; choose another strategy "
        "by --denoise, or run fMRIPrep with these confounds"
    )


def clean(
    series: Floats, regressors: Regressors, strategy: Strategy, t_r_s: float
) -> tuple[Floats, RetainedData]:
    """Detrend, filter and censor series, project out regressors, and standardise the result.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_regions)
        Regional time series. A column that contains NaN becomes NaN.
    regressors : Regressors
        Nuisance regressors and retained volumes, from `load_regressors`.
    strategy : Strategy
        Denoising strategy, which defines the band of the temporal filter.
    t_r_s : float
        Repetition time, s.

    Returns
    -------
    cleaned : ndarray, shape (n_retained, n_regions)
        Denoised series with mean 0 and sample variance 1.
    retained : RetainedData
        Numbers of volumes, minutes, degrees of freedom and motion.

    Raises
    ------
    TooLittleDataError
        If fewer than `MIN_DOF` degrees of freedom remain.

    See Also
    --------
    clean_and_scale : The same, with the standard deviations before standardisation.
    """
    cleaned, _, retained = clean_and_scale(series, regressors, strategy, t_r_s)
    return cleaned, retained


def clean_and_scale(
    series: Floats, regressors: Regressors, strategy: Strategy, t_r_s: float
) -> tuple[Floats, Floats, RetainedData]:
    """Denoise and standardise series like `clean`, and return their standard deviations as well.

    Parameters
    ----------
    series, regressors, strategy, t_r_s
        As in `clean`.

    Returns
    -------
    cleaned : ndarray, shape (n_retained, n_regions)
        Denoised series with mean 0 and sample variance 1.
    deviation : ndarray, shape (n_regions,)
        Standard deviation of the denoised series before standardisation, in the unit of `series`;
        NaN for missing and constant regions.
    retained : RetainedData
        Numbers of volumes, minutes, degrees of freedom and motion.

    Raises
    ------
    TooLittleDataError
        If fewer than `MIN_DOF` degrees of freedom remain.

    Notes
    -----
    Values equal those of `nilearn.signal.clean`. The residual degrees of freedom are the number of
    retained volumes times the share of the spectrum in the band, minus the rank of the regressors
    after filtering, as in Ciric 2017 (doi:10.1016/j.neuroimage.2017.03.020): a series of duration T
    with bandwidth B contains 2 B T independent samples.
    """
    keep, fd = regressors.keep, regressors.fd_mm
    available = np.isfinite(series).all(axis=0)
    both = np.hstack([series[:, available], regressors.values])
    both = _filtered(both, keep, strategy, t_r_s)
    signals, confounds = both[:, : available.sum()], both[:, available.sum() :]
    basis = _orthonormal(confounds)
    rank = basis.shape[1]
    share = filtering.share_kept(
        t_r_s, low_pass_hz=strategy.low_pass_hz, high_pass_hz=strategy.high_pass_hz
    )
    n = int(keep.sum())
    dof = n * share - rank
    minutes = n * t_r_s / 60
    if dof < MIN_DOF:
        raise TooLittleDataError(
            f"strategy {strategy.name} leaves {dof:.0f} degrees of freedom ({n} of {keep.size} "
            f"volumes, {minutes:.1f} min, {rank} regressors), but at least {MIN_DOF:.0f} are "
            "needed; exclude the run, or choose a strategy with fewer regressors by --denoise"
        )
    variance = signals.var(axis=0)
    signals = signals - basis @ (basis.T @ signals)
    signals = signals - signals.mean(axis=0)
    spread = signals.std(axis=0, ddof=1)
    deviation = np.full(series.shape[1], np.nan)
    deviation[available] = np.where(spread < np.finfo(float).eps, np.nan, spread)
    spread[spread < np.finfo(float).eps] = 1.0
    cleaned = np.full((n, series.shape[1]), np.nan)
    cleaned[:, available] = signals / spread
    remaining = signals.var(axis=0)[variance > 0] / variance[variance > 0]
    retained_fd = fd[keep & np.isfinite(fd)]
    n_dummy = min(regressors.n_dummy, keep.size)
    return (
        cleaned,
        deviation,
        RetainedData(
            n_volumes=keep.size,
            n_dummy=n_dummy,
            n_censored=int(keep.size - n - n_dummy),
            n_retained=n,
            minutes=minutes,
            n_regressors=rank,
            residual_dof=float(dof),
            mean_fd_mm=float(retained_fd.mean()) if retained_fd.size else float("nan"),
            variance_removed=1 - float(np.median(remaining)) if remaining.size else float("nan"),
        ),
    )


def _filtered(
    values: Floats, keep: npt.NDArray[np.bool_], strategy: Strategy, t_r_s: float
) -> Floats:
    """Detrend and filter; censored volumes are interpolated before a filter, then dropped."""
    has_filter = strategy.low_pass_hz is not None or strategy.high_pass_hz is not None
    if not has_filter:
        return _detrended(values[keep])
    if not keep.all():
        values = _interpolated(values, keep)
    try:
        filtered = filtering.butterworth(
            _detrended(values),
            t_r_s,
            low_pass_hz=strategy.low_pass_hz,
            high_pass_hz=strategy.high_pass_hz,
        )
    except ValueError as error:
        raise TooLittleDataError(f"strategy {strategy.name}: {error}") from None
    return filtered[keep]


def _detrended(values: Floats) -> Floats:
    centred: Floats = values - values.mean(axis=0)
    time = np.arange(len(values)) - (len(values) - 1) / 2
    slope = time @ centred / max(float(time @ time), 1.0)
    centred -= np.outer(time, slope)
    return centred


def _interpolated(values: Floats, keep: npt.NDArray[np.bool_]) -> Floats:
    """Replace censored volumes by a cubic spline through the retained ones, as nilearn does."""
    from scipy.interpolate import CubicSpline  # noqa: PLC0415 - needed only with censoring

    if keep.sum() < 4:
        raise TooLittleDataError(
            f"{keep.sum()} retained volumes are too few for an interpolation; exclude the run"
        )
    retained = np.flatnonzero(keep)
    out = values.copy()
    out[~keep] = CubicSpline(retained, values[retained])(np.flatnonzero(~keep))
    return out


def _orthonormal(confounds: Floats) -> Floats:
    """Return an orthonormal basis of the standardised regressors, shape (n, rank)."""
    if confounds.shape[1] == 0:
        return confounds
    centred = confounds - confounds.mean(axis=0)
    spread = centred.std(axis=0, ddof=1)
    spread[spread < np.finfo(float).eps] = 1.0
    u, s, _ = np.linalg.svd(centred / spread, full_matrices=False)
    tolerance = s.max(initial=0.0) * max(confounds.shape) * np.finfo(float).eps
    basis: Floats = u[:, s > tolerance]
    return basis


def denoising_prose(strategy: str, settings: AnalysisSettings) -> str:
    """Describe a denoising strategy in a sentence with its reference.

    Parameters
    ----------
    strategy : str
        Name of a strategy, or `AS_GIVEN` for series and matrices from other software.
    settings : AnalysisSettings
        Settings with the files that define additional strategies.

    Returns
    -------
    str
    """
    if strategy == AS_GIVEN:
        return "Time series or matrices were denoised by other software and used without changes."
    found = get_strategy(strategy, load_strategies(tuple(map(Path, settings.strategy_files))))
    return f"{found.prose.strip()} ({found.reference})" if found.reference else found.prose.strip()
