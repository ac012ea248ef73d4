"""Read what the JSON files of a series or matrix, and its design, declare about it.

Keys of several programs are understood: ``GlobalSignalRemoved`` and ``RelationshipMeasure`` (which
anyone may add), ``NuisanceParameters`` (XCP-D), ``ConfoundRegressors`` and
``MeanFramewiseDisplacement`` (giga_connectome), ``Setting`` and ``FDMean`` (HALFpipe),
``DenoisingStrategy`` (circuitshift).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from circuitshift.pipeline.bids.run_metadata import metadata_of
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.given.companions import Companions
from circuitshift.pipeline.records import Run

__all__ = ["Declared", "declared_about"]

# Parameter sets of XCP-D: https://xcp-d.readthedocs.io, "Confound regressor selection".
_XCPD_WITH = frozenset({"27p", "36p", "gsronly", "acompcorgsr", "aromagsr"})
_XCPD_WITHOUT = frozenset({"none", "24p", "acompcor", "aroma"})
_XCPD_KEYS = ("NuisanceParameters", "nuisance parameters", "nuissance parameters")
_REGRESSOR_KEYS = ("ConfoundRegressors", "ConfoundsUsed")
_MEASURE_KEYS = ("RelationshipMeasure", "Measure")


@dataclass(frozen=True, slots=True)
class Declared:
    """What is declared about a series or matrix.

    Parameters
    ----------
    global_signal_removed : bool or None
        Whether the global signal was regressed out; None if nothing declares it.
    source : str
        What declares it; empty if nothing does.
    values : {"correlation", "fisher-z", ""}
        What the values of a matrix are; empty if nothing declares it.
    mean_fd_mm : float or None
        Mean framewise displacement in mm.
    """

    global_signal_removed: bool | None = None
    source: str = ""
    values: Literal["correlation", "fisher-z", ""] = ""
    mean_fd_mm: float | None = None


def declared_about(run: Run, beside: Companions) -> Declared:
    """Read the declarations about a time series or matrix.

    Parameters
    ----------
    run : Run
        Run of regional time series or a matrix.
    beside : Companions
        Files beside it; a table of regressors is read.

    Returns
    -------
    Declared

    Raises
    ------
    TableError
        If a JSON file or the table of regressors cannot be read, or `GlobalSignalRemoved` is
        neither true, false nor ``n/a``.
    """
    about = metadata_of(run)
    removed, source = _global_signal(run.path, about)
    if removed is None and not source and beside.design is not None:
        removed = _has_global_signal(tables.read_table(beside.design).columns)
        source = beside.design.name
    return Declared(removed, source, _values(about), _mean_fd(about))


def _global_signal(path: Path, about: Mapping[str, Any]) -> tuple[bool | None, str]:
    """Return whether the metadata declare regression of the global signal, and by which key."""
    if "GlobalSignalRemoved" in about:
        value = about["GlobalSignalRemoved"]
        if not (isinstance(value, bool) or value in ("n/a", None)):
            raise TableError(
                f'{path}: GlobalSignalRemoved in its JSON is {value!r}; write true, false or "n/a"'
            )
        return (value if isinstance(value, bool) else None), "GlobalSignalRemoved"
    for key in _REGRESSOR_KEYS:
        if isinstance(about.get(key), list):
            return _has_global_signal(about[key]), key
    for key in (*_XCPD_KEYS, *_REGRESSOR_KEYS):
        word = "".join(c for c in str(about.get(key) or "").lower() if c.isalnum())
        if word in _XCPD_WITH | _XCPD_WITHOUT:
            return word in _XCPD_WITH, key
    setting = about.get("Setting")
    if isinstance(setting, Mapping) and isinstance(setting.get("ConfoundsRemoval"), list):
        patterns = [str(pattern) for pattern in setting["ConfoundsRemoval"]]
        return any(map(_matches_global_signal, patterns)), "Setting.ConfoundsRemoval"
    strategy = about.get("DenoisingStrategy")
    if isinstance(strategy, str) and strategy != "as given":
        return "gsr" in strategy.split("+"), "DenoisingStrategy"
    return None, ""


def _matches_global_signal(pattern: str) -> bool:
    """Return whether a pattern of HALFpipe selects the global signal."""
    try:
        return re.fullmatch(pattern, "global_signal") is not None
    except re.error:
        return False


def _has_global_signal(names: Any) -> bool:  # noqa: ANN401 - any iterable of names
    return any(str(name).lower().replace("_", "").startswith("globalsignal") for name in names)


def _values(about: Mapping[str, Any]) -> Literal["correlation", "fisher-z", ""]:
    """Return what the metadata say that the values of a matrix are."""
    for key in _MEASURE_KEYS:
        said = "".join(c for c in str(about.get(key) or "").lower() if c.isalnum())
        if "fisher" in said or "ztransform" in said:
            return "fisher-z"
        if "correlation" in said:
            return "correlation"
    return ""


def _mean_fd(about: Mapping[str, Any]) -> float | None:
    """Return the mean framewise displacement that the metadata state."""
    for key in ("MeanFramewiseDisplacement", "FDMean"):
        value = about.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if 0 <= value < math.inf:
            return float(value)
    return None
