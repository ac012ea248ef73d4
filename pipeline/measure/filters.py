"""Filter time series and confounds with the zero-phase Butterworth filter of nilearn.

The filter is that of scipy. `scipy.signal` is imported inside the function, because the packaged
denoising strategies have no temporal filter and do not need this slow import
(docs/denoising.md states the measured cost).
"""

import numpy as np

from circuitshift.pipeline.arrays import Floats

__all__ = ["butterworth", "share_kept"]

_ORDER = 5  # default of nilearn
# nilearn lowers cut-offs at or above the Nyquist frequency to this share of it
_MAX_SHARE = 1 - 10 * float(np.finfo(np.float32).eps)


def butterworth(
    values: Floats, t_r_s: float, *, low_pass_hz: float | None, high_pass_hz: float | None
) -> Floats:
    """Filter columns with a fifth-order Butterworth filter, forward and backward.

    Parameters
    ----------
    values : ndarray, shape (n_volumes, n_columns)
        One series per column. A column that contains NaN becomes NaN.
    t_r_s : float
        Repetition time, s.
    low_pass_hz, high_pass_hz : float, optional
        Upper and lower limit of the retained band, Hz; None for no limit.

    Returns
    -------
    ndarray, shape (n_volumes, n_columns)
        Filtered series, equal to those of `nilearn.signal.butterworth`.

    Raises
    ------
    ValueError
        If there are too few volumes for the padding of the filter, or the complete band is above
        the Nyquist frequency.
    """
    if low_pass_hz is None and high_pass_hz is None:
        return values
    # the import takes a third of a second
    from scipy.signal import butter, sosfiltfilt  # noqa: PLC0415

    highest = _MAX_SHARE * 0.5 / t_r_s
    cut_offs = [min(hz, highest) for hz in (high_pass_hz, low_pass_hz) if hz is not None]
    if len(set(cut_offs)) < len(cut_offs):
        raise ValueError(
            f"a run with a repetition time of {t_r_s:g} s contains no frequency between "
            f"{high_pass_hz:g} and {low_pass_hz:g} Hz; choose a strategy with a lower band"
        )
    kind = "band" if len(cut_offs) == 2 else "lowpass" if high_pass_hz is None else "highpass"
    sections = butter(_ORDER, np.squeeze(cut_offs), btype=kind, output="sos", fs=1 / t_r_s)
    needed = _padding(sections)
    if len(values) <= needed:
        raise ValueError(
            f"{len(values)} volumes are too few for the filter, which needs more than {needed}; "
            "exclude the run, or choose a strategy without a temporal filter"
        )
    filtered: Floats = sosfiltfilt(sections, values, axis=0, padlen=needed)
    return filtered


def _padding(sections: Floats) -> int:
    """Return the default length of the padding of scipy at each end, in volumes."""
    first_order = min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum())
    return 3 * (2 * len(sections) + 1 - int(first_order))


def share_kept(t_r_s: float, *, low_pass_hz: float | None, high_pass_hz: float | None) -> float:
    """Return the share of the spectrum up to the Nyquist frequency that is in the band.

    Parameters
    ----------
    t_r_s : float
        Repetition time, s.
    low_pass_hz, high_pass_hz : float, optional
        Upper and lower limit of the band, Hz; None for no limit.

    Returns
    -------
    float
        Share between 0 and 1.
    """
    nyquist = 0.5 / t_r_s
    low = min(nyquist if low_pass_hz is None else low_pass_hz, nyquist)
    high = 0.0 if high_pass_hz is None else high_pass_hz
    return max(0.0, low - high) / nyquist
