"""Summarise heartbeats and breathing of a run, from recordings in BIDS format.

The scale of a respiratory belt or a pulse sensor is arbitrary and changes when the sensor is
attached again. All summaries are therefore rates, or ratios that do not depend on the scale.
"""

import gzip
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.arrays import Floats

__all__ = ["breathing", "heart_rate", "read_physiology", "summarise_run"]

_CARDIAC = ("cardiac", "pulse", "ppg", "ppu", "ecg", "puls")
_RESPIRATORY = ("respiratory", "respiration", "resp", "breathing", "belt")
_HEART_HZ = (0.6, 3.0)  # 36 to 180 per minute
_BREATH_HZ = (0.08, 0.8)  # 5 to 48 per minute
_MIN_CYCLES = 10  # heartbeats or breaths of a usable recording


def heart_rate(cardiac: Floats, sampling_hz: float) -> float:
    """Estimate the heart rate from a pulse or an electrocardiogram.

    Parameters
    ----------
    cardiac : ndarray, shape (n_samples,)
        Recording in any unit.
    sampling_hz : float
        Sampling frequency, Hz.

    Returns
    -------
    float
        Beats per minute, from the median interval between peaks of the recording between 0.6 and 3
        Hz. NaN if fewer than ten peaks were found, or the recording is flat.
    """
    peaks = _peaks(_band(cardiac, sampling_hz, _HEART_HZ), sampling_hz / _HEART_HZ[1] * 0.8)
    if len(peaks) < _MIN_CYCLES:
        return float("nan")
    return float(60 * sampling_hz / np.median(np.diff(peaks)))


def breathing(respiratory: Floats, sampling_hz: float) -> tuple[float, float]:
    """Estimate the rate of breathing, and the variability of respiration volume per time.

    Parameters
    ----------
    respiratory : ndarray, shape (n_samples,)
        Recording of a respiratory belt, in any unit.
    sampling_hz : float
        Sampling frequency, Hz.

    Returns
    -------
    rate : float
        Breaths per minute, from the median interval between inspirations.
    rvt_variability : float
        Standard deviation over breaths of the respiration volume per time (RVT), divided by its
        mean. RVT is the depth of a breath divided by its duration (Birn 2006,
        doi:10.1016/j.neuroimage.2006.02.048). It rises with sighs and pauses, as in drowsiness.

    Both are NaN if fewer than ten breaths were found, or the recording is flat.
    """
    nan = float("nan")
    clean = _band(respiratory, sampling_hz, _BREATH_HZ)
    peaks = _peaks(clean, sampling_hz / _BREATH_HZ[1] * 0.8)
    if len(peaks) < _MIN_CYCLES:
        return nan, nan
    troughs = np.array([clean[a:b].min() for a, b in itertools.pairwise(peaks.tolist())])
    duration = np.diff(peaks) / sampling_hz
    rvt = (clean[peaks[1:]] - troughs) / duration
    rate = float(60 / np.median(duration))
    return rate, float(rvt.std(ddof=1) / rvt.mean()) if rvt.mean() > 0 else nan


def _band(signal: Floats, sampling_hz: float, limits_hz: tuple[float, float]) -> Floats:
    """Filter a recording to a band without phase shift, with unit standard deviation."""
    from scipy.signal import butter, sosfiltfilt  # noqa: PLC0415 - slow to import

    values = np.asarray(signal, float)
    available = np.isfinite(values)
    flat = np.zeros(1)
    if available.sum() < 0.9 * len(values) or sampling_hz < 4 * limits_hz[1]:
        return flat
    at = np.arange(len(values))
    values = np.interp(at, at[available], values[available])
    if len(values) < 30 * sampling_hz or np.ptp(values) == 0:
        return flat
    sections = butter(2, limits_hz, btype="bandpass", fs=sampling_hz, output="sos")
    filtered = sosfiltfilt(sections, values - values.mean())
    spread = filtered.std()
    return np.asarray(filtered / spread) if spread > 0 else flat


def _peaks(signal: Floats, distance: float) -> np.ndarray[Any, np.dtype[np.intp]]:
    from scipy.signal import find_peaks  # noqa: PLC0415 - slow to import

    return np.asarray(find_peaks(signal, distance=max(distance, 1), prominence=0.5)[0], np.intp)


def read_physiology(path: Path, sidecar: Path) -> tuple[dict[str, Floats], float]:
    """Read a recording of BIDS: a compressed table without a header, and its JSON file.

    Parameters
    ----------
    path : Path
        ``*_physio.tsv.gz``.
    sidecar : Path
        JSON file with ``Columns`` and ``SamplingFrequency``.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_samples,)
        Recordings by the name of the column, in lower case, from the first volume on
        (``StartTime``).
    sampling_hz : float
        Sampling frequency, Hz.

    Raises
    ------
    ValueError
        If the files cannot be read or contradict each other.
    """
    try:
        about = json.loads(sidecar.read_text(encoding="utf-8"))
        names = [str(name).lower() for name in about["Columns"]]
        sampling_hz = float(about["SamplingFrequency"])
        start = float(about.get("StartTime") or 0.0)
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: the recording cannot be read ({error})") from None
    values = np.genfromtxt(io.StringIO(text), delimiter="\t", ndmin=2)
    if values.shape[1] != len(names) or not sampling_hz > 0:
        raise ValueError(
            f"{path}: {values.shape[1]} columns and {len(names)} names in {sidecar.name}"
        )
    first = max(0, round(-start * sampling_hz))  # samples before the first volume
    return dict(zip(names, values[first:].T, strict=True)), sampling_hz


def summarise_run(columns: dict[str, Floats], sampling_hz: float) -> dict[str, float]:
    """Summarise the recordings of one run.

    Parameters
    ----------
    columns : dict of str to ndarray, shape (n_samples,)
        Recordings by the name of the column, from `read_physiology`.
    sampling_hz : float
        Sampling frequency, Hz.

    Returns
    -------
    dict of str to float
        ``heart rate`` and ``breathing rate``, per minute, and ``variability of breathing``, for
        those recordings that exist; NaN where a recording is not usable.
    """
    out = {}
    cardiac = next((columns[name] for name in _CARDIAC if name in columns), None)
    if cardiac is not None:
        out["heart rate"] = heart_rate(cardiac, sampling_hz)
    respiratory = next((columns[name] for name in _RESPIRATORY if name in columns), None)
    if respiratory is not None:
        rate, variability = breathing(respiratory, sampling_hz)
        out |= {"breathing rate": rate, "variability of breathing": variability}
    return out
