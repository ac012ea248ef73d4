"""Zero-phase Butterworth filters in numpy, equal to scipy's ``sosfiltfilt``.

`scipy.signal` costs a second to import, more than everything else that is done to a run's series.
The design follows scipy.signal.butter (analogue prototype, frequency transform, bilinear
transform); the filter runs forward and backward over an odd extension of the data, from the
steady state of its first value, as scipy.signal.sosfiltfilt does (Gustafsson's and Likhterov &
Kopeika's reasons are given there).
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats

__all__ = ["butterworth", "share_kept"]

_ORDER = 5  # nilearn's


def butterworth(
    values: Floats, t_r_s: float, *, low_pass_hz: float | None, high_pass_hz: float | None
) -> Floats:
    """Filter columns with a fifth-order Butterworth filter, forward and backward.

    Parameters
    ----------
    values : ndarray of shape (n_volumes, n_columns)
    t_r_s : float
        Repetition time, s.
    low_pass_hz, high_pass_hz : float, optional
        Band that is kept, Hz; None leaves that side open.

    Returns
    -------
    ndarray of shape (n_volumes, n_columns)

    Raises
    ------
    ValueError
        If there are too few volumes for the filter's padding.
    """
    if low_pass_hz is None and high_pass_hz is None:
        return values
    nyquist = 0.5 / t_r_s
    # nilearn lowers cut-offs at or above Nyquist to just below it
    low = None if low_pass_hz is None else min(low_pass_hz / nyquist, 1 - 10 * _EPS)
    high = None if high_pass_hz is None else min(high_pass_hz / nyquist, 1 - 10 * _EPS)
    return _filter_matrix(len(values), low, high) @ values


_EPS = float(np.finfo(np.float64).eps)


def share_kept(t_r_s: float, *, low_pass_hz: float | None, high_pass_hz: float | None) -> float:
    """Share of the spectrum, 0 to Nyquist, that lies in the band."""
    nyquist = 0.5 / t_r_s
    low = min(nyquist if low_pass_hz is None else low_pass_hz, nyquist)
    high = 0.0 if high_pass_hz is None else high_pass_hz
    return max(0.0, low - high) / nyquist


@lru_cache(maxsize=16)
def _filter_matrix(n: int, low: float | None, high: float | None) -> Floats:
    """Return the filter as a matrix: it is linear, and many runs share length and band."""
    sections = _sections(low, high)
    first_order = sum(a2 == 0 for *_, a2 in sections)
    edge = 3 * (2 * len(sections) + 1 - first_order)
    if n <= edge:
        raise ValueError(f"{n} volumes are too few for the filter; it needs more than {edge}")
    eye = np.eye(n)
    padded = np.vstack([2 * eye[0] - eye[edge:0:-1], eye, 2 * eye[-1] - eye[-2 : -(edge + 2) : -1]])
    forward = _cascade(padded, sections)
    return np.ascontiguousarray(_cascade(forward[::-1], sections)[::-1][edge:-edge])


_Section = tuple[float, float, float, float, float]


def _cascade(x: Floats, sections: tuple[_Section, ...]) -> Floats:
    """Run second-order sections along axis 0, from the steady state of the first row."""
    for b0, b1, b2, a1, a2 in sections:
        gain = (b0 + b1 + b2) / (1 + a1 + a2)
        first = x[0]
        # state that a constant input of `first` would have left (transposed direct form II)
        z1 = (gain - b0) * first
        z2 = (b2 - a2 * gain) * first
        y = np.empty_like(x)
        for t, row in enumerate(x):
            y[t] = b0 * row + z1
            z1 = b1 * row - a1 * y[t] + z2
            z2 = b2 * row - a2 * y[t]
        x = y
    return x


def _sections(low: float | None, high: float | None) -> tuple[_Section, ...]:
    """Design the filter as second-order sections (b0, b1, b2, a1, a2); cut-offs over Nyquist."""
    k = np.arange(-_ORDER + 1, _ORDER, 2)
    prototype = -np.exp(1j * np.pi * k / (2 * _ORDER))
    prototype[_ORDER // 2] = -1.0
    if low is not None and high is not None:
        w_low, w_high = 4 * np.tan(np.pi * np.array([high, low]) / 2)
        width, centre = w_high - w_low, np.sqrt(w_low * w_high)
        half = prototype * width / 2
        root = np.sqrt(half**2 - centre**2 + 0j)
        poles, zeros = np.concatenate([half + root, half - root]), np.zeros(_ORDER)
        gain = width**_ORDER
    elif low is not None:
        warped = 4 * np.tan(np.pi * low / 2)
        poles, zeros, gain = prototype * warped, np.empty(0), warped**_ORDER
    else:
        assert high is not None  # noqa: S101 - for the type checker; one side is given
        warped = 4 * np.tan(np.pi * high / 2)
        poles, zeros = warped / prototype, np.zeros(_ORDER)
        gain = float(np.real(1 / np.prod(-prototype)))
    # bilinear transform at a sampling rate of 2, so that Nyquist is 1
    gain = gain * float(np.real(np.prod(4 - zeros) / np.prod(4 - poles)))
    z_poles = (4 + poles) / (4 - poles)
    n_at_one = len(zeros)
    at = [1.0] * n_at_one + [-1.0] * (len(poles) - n_at_one)
    return _paired(z_poles, at, gain)


def _paired(
    poles: npt.NDArray[np.complex128], zeros: list[float], gain: float
) -> tuple[_Section, ...]:
    """Pair poles with their conjugates, real poles with each other, and zeros in turn."""
    upper = sorted(poles[poles.imag > 1e-12], key=abs)
    real = sorted(poles[np.abs(poles.imag) <= 1e-12].real)
    denominators = [(-2 * p.real, abs(p) ** 2) for p in upper]
    while len(real) > 1:
        p, q = real.pop(), real.pop()
        denominators.append((-(p + q), p * q))
    if real:
        denominators.append((-real.pop(), 0.0))
    zeros = sorted(zeros)  # -1 from the front, +1 from the back: both in each band-pass section
    sections: list[_Section] = []
    for a1, a2 in denominators:
        z1 = zeros.pop(0)
        b1, b2 = -z1, 0.0
        if a2 != 0.0:
            z2 = zeros.pop()
            b1, b2 = -(z1 + z2), z1 * z2
        sections.append((1.0, b1, b2, float(a1), float(a2)))
    b0, b1, b2, a1, a2 = sections[0]
    sections[0] = (b0 * gain, b1 * gain, b2 * gain, a1, a2)
    return tuple(sections)
