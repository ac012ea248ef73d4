"""Zero-phase Butterworth filter of regional series and confounds, as nilearn applies it.

The filter itself is scipy's. `scipy.signal` is imported where it is used, since the packaged
denoising strategies have no temporal filter and need not pay for the import
(docs/denoising.md gives the measured cost).
"""

import numpy as np

from circuitshift.pipeline.arrays import Floats

__all__ = ["butterworth", "share_kept"]

_ORDER = 5  # nilearn's
# nilearn lowers cut-offs at or above the Nyquist frequency to this share of it
_HIGHEST = 1 - 10 * float(np.finfo(np.float32).eps)


def butterworth(
    values: Floats, t_r_s: float, *, low_pass_hz: float | None, high_pass_hz: float | None
) -> Floats:
    """Filter columns with a fifth-order Butterworth filter, forward and backward.

    Parameters
    ----------
    values : ndarray of shape (n_volumes, n_columns)
        One series per column. A column that contains NaN becomes NaN.
    t_r_s : float
        Repetition time, s.
    low_pass_hz, high_pass_hz : float, optional
        Band that is kept, Hz; None leaves that side open.

    Returns
    -------
    ndarray of shape (n_volumes, n_columns)
        Equal to `nilearn.signal.butterworth`.

    Raises
    ------
    ValueError
        If there are too few volumes for the filter's padding, or the whole band lies above the
        Nyquist frequency.
    """
    if low_pass_hz is None and high_pass_hz is None:
        return values
    from scipy.signal import butter, sosfiltfilt  # noqa: PLC0415 - a third of a second of import

    highest = _HIGHEST * 0.5 / t_r_s
    cut_offs = [min(hz, highest) for hz in (high_pass_hz, low_pass_hz) if hz is not None]
    if len(set(cut_offs)) < len(cut_offs):
        raise ValueError(
            f"no frequency of a run with a repetition time of {t_r_s:g} s lies between "
            f"{high_pass_hz:g} and {low_pass_hz:g} Hz"
        )
    kind = "band" if len(cut_offs) == 2 else "lowpass" if high_pass_hz is None else "highpass"
    sections = butter(_ORDER, np.squeeze(cut_offs), btype=kind, output="sos", fs=1 / t_r_s)
    needed = _padding(sections)
    if len(values) <= needed:
        raise ValueError(
            f"{len(values)} volumes are too few for the filter; it needs more than {needed}"
        )
    filtered: Floats = sosfiltfilt(sections, values, axis=0, padlen=needed)
    return filtered


def _padding(sections: Floats) -> int:
    """Return scipy's default length of the padding at each end, volumes."""
    first_order = min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum())
    return 3 * (2 * len(sections) + 1 - int(first_order))


def share_kept(t_r_s: float, *, low_pass_hz: float | None, high_pass_hz: float | None) -> float:
    """Return the share of the spectrum, 0 to Nyquist, that lies in the band."""
    nyquist = 0.5 / t_r_s
    low = min(nyquist if low_pass_hz is None else low_pass_hz, nyquist)
    high = 0.0 if high_pass_hz is None else high_pass_hz
    return max(0.0, low - high) / nyquist
