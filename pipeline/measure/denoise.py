"""Denoising: named strategies, regressors from fMRIPrep's confounds, and cleaning of series.

Cleaning is linear, so it is done on regional means: the same numbers as cleaning every voxel first,
at a thousandth of the cost. The order is that of nilearn.signal.clean: detrend and filter series
and regressors alike, then censor, then project the regressors out, so that no step brings back what
another has removed (Lindquist 2019, doi:10.1002/hbm.24528).
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
#: Residual degrees of freedom below which no correlation is estimated: the standard error of a
#: Fisher z, 1 / sqrt(dof - 3), would be above .37.
MIN_DOF = 10.0

_SHORT = 60  # volumes below which a table without cosines is that of a short run

_GSR_COUNTERPART = "+gsr"
_FD = "framewise_displacement"
_DVARS = "std_dvars"
_DUMMY = "non_steady_state_outlier"


@dataclass(frozen=True, slots=True, eq=False)
class Regressors:
    """What a strategy takes out of one run.

    Parameters
    ----------
    values : ndarray of shape (n_volumes, n_regressors)
    names : tuple of str
        Columns of the confounds table.
    keep : ndarray of bool, shape (n_volumes,)
        False for volumes that are censored or not in the steady state.
    fd_mm : ndarray of shape (n_volumes,)
        Framewise displacement; NaN where unknown (the first volume).
    n_dummy : int
        Volumes before the steady state.
    std_dvars : ndarray of shape (n_volumes,), optional
        Standardised DVARS; None when the table has none.
    """

    values: Floats
    names: tuple[str, ...]
    keep: npt.NDArray[np.bool_]
    fd_mm: Floats
    n_dummy: int
    std_dvars: Floats | None = None


def load_strategies(files: Sequence[Path] = ()) -> dict[str, Strategy]:
    """Read the strategies of ``strategies.toml``, and of further files.

    Each strategy without global signal regression gets a twin with it, named ``<name>+gsr``.

    Parameters
    ----------
    files : sequence of Path
        TOML files of the same form; a name that is there already is replaced.

    Returns
    -------
    dict of str to Strategy

    Raises
    ------
    TableError, FaultsError
        If a file cannot be read or a table of it is wrong.
    """
    out: dict[str, Strategy] = {}
    for path in (Path(__file__).with_name(PACKAGE_DATA[0]), *files):
        out |= {strategy.name: strategy for strategy in _parsed(path, tables.read_text(path))}
    return out


@lru_cache(maxsize=8)
def _parsed(path: Path, text: str) -> tuple[Strategy, ...]:
    """Return the strategies of a TOML file; a text is parsed once, which takes 5 ms."""
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise TableError(f"{path}: it is not TOML ({error})") from None
    problems: list[InputProblem] = []
    for name, table in content.items():
        problems += _wrong(path, name, table)
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


def _wrong(path: Path, name: str, table: object) -> list[InputProblem]:
    where = f"{path}, [{name}]"
    if not isinstance(table, dict):
        return [InputProblem(where, "it is no table", "write [name] and its keys below")]
    problems = []
    for key, value in table.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_KEYS)}"
            problems.append(InputProblem(where, f"key {key!r} is unknown", hint))
        elif not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            problems.append(
                InputProblem(where, f"{key} = {value!r}", "see docs/denoising.md for its form")
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

    Raises
    ------
    InputError
        If there is none; names the nearest.
    """
    if name in strategies:
        return strategies[name]
    near = difflib.get_close_matches(name.lower(), strategies, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    available = ", ".join(map(repr, strategies))
    raise InputError(f"denoising strategy {name!r} is unknown{hint} Known are {available}")


def load_regressors(
    confounds: Path,
    strategy: Strategy,
    *,
    n_volumes: int | None = None,
    dummy_scans: int | None = None,
) -> Regressors:
    """Select the regressors of a strategy from fMRIPrep's confounds, through nilearn.

    Parameters
    ----------
    confounds : Path
        ``*_desc-confounds_timeseries.tsv`` or ``*_regressors.tsv``, its JSON beside it.
    strategy : Strategy
    n_volumes : int, optional
        Volumes of the image, to be compared with the rows of the table.
    dummy_scans : int, optional
        Volumes to drop at the start; None takes the non-steady-state columns.

    Returns
    -------
    Regressors

    Raises
    ------
    ConfoundsError
        If columns are missing (all are named), or the table does not fit the image.
    TooLittleDataError
        If no volume is left.
    """
    table = tables.read_table(confounds)
    if n_volumes is not None and table.n_rows != n_volumes:
        raise ConfoundsError(
            f"{confounds}: it has {table.n_rows} rows and the image {n_volumes} volumes; they are "
            "not of the same run, or one of them was cut"
        )
    n = table.n_rows
    n_dummy = _n_dummy(table, dummy_scans)
    fd = table.numbers(_FD) if _FD in table.columns else np.full(n, np.nan)
    keep = np.arange(n) >= n_dummy
    if strategy.fd_threshold_mm is not None:
        if _FD not in table.columns:
            raise ConfoundsError(
                f"{confounds}: strategy {strategy.name} censors by motion and needs the column "
                f"{_FD}"
            )
        keep &= ~(fd > strategy.fd_threshold_mm)
    if not keep.any():
        raise TooLittleDataError(
            f"{confounds}: strategy {strategy.name} leaves none of {n} volumes"
        )
    names, values = _select(table, strategy)
    if n < 2:
        raise ConfoundsError(f"{confounds}: it has {n} row of values; it was cut, fetch it again")
    dvars = table.numbers(_DVARS) if _DVARS in table.columns else None
    return Regressors(values, names, keep, fd, n_dummy, dvars)


def count_dummy(confounds: Path, dummy_scans: int | None = None) -> int:
    """Count the volumes before the steady state.

    Parameters
    ----------
    confounds : Path
    dummy_scans : int, optional
        As in `load_regressors`.
    """
    return _n_dummy(tables.read_table(confounds), dummy_scans)


def _n_dummy(table: tables.Table, dummy_scans: int | None) -> int:
    """Count the volumes that fMRIPrep marks as not in the steady state, from the start."""
    if dummy_scans is not None:
        return min(dummy_scans, table.n_rows)
    columns = [name for name in table.columns if name.startswith(_DUMMY)]
    if not columns:
        return 0
    marked = np.flatnonzero(np.sum([table.numbers(name) for name in columns], axis=0) > 0)
    return int(marked.max()) + 1 if marked.size else 0


def _select(table: tables.Table, strategy: Strategy) -> tuple[tuple[str, ...], Floats]:
    """Ask nilearn for the columns; its search by name is met with links under fMRIPrep's names."""
    load = dict(strategy.load)
    families = load.get("strategy", ())
    if not families:
        return (), np.empty((table.n_rows, 0))
    if load.get("ica_aroma") == "full":
        raise InputError(
            f"strategy {strategy.name}: ica_aroma = 'full' needs an image that is denoised "
            "already; use 'basic'"
        )
    missing = _missing(table, load)
    if table.n_rows < _SHORT and missing and all("cosine" in name for name in missing):
        raise TooLittleDataError(
            f"{table.n_rows} volumes are too few for connectivity: in less than 128 s slow drift "
            "cannot be told from signal; leave the run out"
        )
    if missing:
        raise _unusable(table.path, strategy, f"it lacks {', '.join(missing)}")
    sidecar = table.path.with_suffix(".json")
    if "compcor" in families and not sidecar.exists():
        what = f"the JSON that tells the aCompCor masks, {sidecar.name}, is not beside it"
        raise _unusable(table.path, strategy, what)
    try:
        names, values = _ask_nilearn(table.path, sidecar, load)
    except Exception as error:  # nilearn raises many kinds
        raise _unusable(table.path, strategy, " ".join(str(error).split())) from error
    for family in families:
        if not any(_belongs(name, family) for name in names):
            raise _unusable(table.path, strategy, f"nothing in it serves as {family}")
    bad = [name for name, column in zip(names, values.T, strict=True) if np.isnan(column).any()]
    if bad:
        what = f"columns {', '.join(bad[:5])} hold n/a beyond the first volume"
        raise _unusable(table.path, strategy, what)
    return names, values


def _ask_nilearn(
    confounds: Path, sidecar: Path, load: Mapping[str, Any]
) -> tuple[tuple[str, ...], Floats]:
    from nilearn.interfaces.fmriprep import load_confounds  # noqa: PLC0415 - three seconds

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
    """Give a temporary folder whose path lacks a word.

    nilearn 0.14 finds the JSON by replacing every "tsv" in the path, those in the names of folders
    too, and one random name of a folder in some 8000 holds it.
    """
    if word in tempfile.gettempdir():
        raise InputError(
            f"the folder of temporary files, {tempfile.gettempdir()}, has '{word}' in its path, "
            "which misleads nilearn; set TMPDIR to another one"
        )
    while True:
        with tempfile.TemporaryDirectory() as folder:
            if word not in folder:
                yield Path(folder)
                return


#: Columns that a keyword of nilearn needs at least, and how its columns begin.
_FAMILIES = {
    "motion": ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"),
    "high_pass": ("cosine00",),
    "wm_csf": ("csf", "white_matter"),
    "global_signal": ("global_signal",),
    "compcor": (),
    "ica_aroma": (),
}
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
    """Name every column that a strategy needs and the table lacks."""
    wanted: list[str] = []
    for family in load["strategy"]:
        first = _FAMILIES.get(family, ())
        endings = _ENDINGS.get(str(load.get(family, "basic")), ())
        wanted += [*first, *(name + end for name in first for end in endings)]
        if not any(_belongs(name, family) for name in table.columns):
            wanted += [f"{beginning}*" for beginning in _BEGINNINGS.get(family, ())[:1]]
    return [name for name in dict.fromkeys(wanted) if name not in table.columns]


def _unusable(confounds: Path, strategy: Strategy, what: str) -> ConfoundsError:
    return ConfoundsError(
        f"{confounds}: strategy {strategy.name} cannot be used, {what}; choose another by "
        "--denoise, or run fMRIPrep with these confounds"
    )


def clean(
    series: Floats, regressors: Regressors, strategy: Strategy, t_r_s: float
) -> tuple[Floats, RetainedData]:
    """Detrend, filter, censor, project out regressors and standardise, as nilearn.signal.clean.

    Parameters
    ----------
    series : ndarray of shape (n_volumes, n_regions)
        A column with NaN stays NaN.
    regressors : Regressors
    strategy : Strategy
    t_r_s : float
        Repetition time, s.

    Returns
    -------
    cleaned : ndarray of shape (n_retained, n_regions)
        Unit sample variance.
    kept : Kept
        Residual degrees of freedom are the retained volumes times the share of the spectrum in the
        band, minus the rank of the regressors after filtering (as in the comparisons of Ciric 2017,
        doi:10.1016/j.neuroimage.2017.03.020; a filter leaves 2 B T independent samples).

    Raises
    ------
    TooLittleDataError
        If fewer than `MIN_DOF` degrees of freedom are left.
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
            f"volumes, {minutes:.1f} min, {rank} regressors); at least {MIN_DOF:.0f} are needed"
        )
    whole = signals.var(axis=0)
    signals = signals - basis @ (basis.T @ signals)
    signals = signals - signals.mean(axis=0)
    spread = signals.std(axis=0, ddof=1)
    spread[spread < np.finfo(float).eps] = 1.0
    cleaned = np.full((n, series.shape[1]), np.nan)
    cleaned[:, available] = signals / spread
    left = signals.var(axis=0)[whole > 0] / whole[whole > 0]
    moved = fd[keep & np.isfinite(fd)]
    n_dummy = min(regressors.n_dummy, keep.size)
    return cleaned, RetainedData(
        n_volumes=keep.size,
        n_dummy=n_dummy,
        n_censored=int(keep.size - n - n_dummy),
        n_retained=n,
        minutes=minutes,
        n_regressors=rank,
        residual_dof=float(dof),
        mean_fd_mm=float(moved.mean()) if moved.size else float("nan"),
        variance_removed=1 - float(np.median(left)) if left.size else float("nan"),
    )


def _filtered(
    values: Floats, keep: npt.NDArray[np.bool_], strategy: Strategy, t_r_s: float
) -> Floats:
    """Detrend and filter; censored volumes are filled in before a filter and dropped after it."""
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
    """Fill censored volumes by a cubic spline through the kept ones, as nilearn does."""
    from scipy.interpolate import CubicSpline  # noqa: PLC0415 - only when volumes are censored

    if keep.sum() < 4:
        raise TooLittleDataError(f"{keep.sum()} volumes are too few to interpolate between")
    at = np.flatnonzero(keep)
    out = values.copy()
    out[~keep] = CubicSpline(at, values[at])(np.flatnonzero(~keep))
    return out


def _orthonormal(confounds: Floats) -> Floats:
    """Basis of the standardised regressors, shape (n, rank)."""
    if confounds.shape[1] == 0:
        return confounds
    centred = confounds - confounds.mean(axis=0)
    spread = centred.std(axis=0, ddof=1)
    spread[spread < np.finfo(float).eps] = 1.0
    u, s, _ = np.linalg.svd(centred / spread, full_matrices=False)
    least = s.max(initial=0.0) * max(confounds.shape) * np.finfo(float).eps
    basis: Floats = u[:, s > least]
    return basis


def denoising_prose(strategy: str, settings: AnalysisSettings) -> str:
    """Sentence on a denoising strategy, with its reference.

    Parameters
    ----------
    strategy : str
    settings : AnalysisSettings
        Its files may hold further strategies.

    Returns
    -------
    str
    """
    if strategy == AS_GIVEN:
        return "Series or matrices were taken as given; denoising was done elsewhere."
    found = get_strategy(strategy, load_strategies(tuple(map(Path, settings.strategy_files))))
    return f"{found.prose.strip()} ({found.reference})" if found.reference else found.prose.strip()
