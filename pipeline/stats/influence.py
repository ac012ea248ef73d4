"""What one person does to a result, and whether ranks agree with means."""

from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.stats.permutation import Contrast

__all__ = ["Influence", "influence", "normal_scores"]


@dataclass(frozen=True, slots=True)
class Influence:
    """Leaving each person out of the contrast once.

    Parameters
    ----------
    person : int
        Row of the person without whom the estimate moves most.
    estimate, without : float
        With everybody, and without that person.
    p, p_without : float
        Parametric (t) p of both: for comparison with each other only.
    largest_p_without : float
        Over all people left out: whether significance hangs on anybody.
    """

    person: int
    estimate: float
    without: float
    p: float
    p_without: float
    largest_p_without: float


def influence(y: Floats, contrast: Contrast) -> Influence:
    """Leave each person out of one test.

    Parameters
    ----------
    y : ndarray, shape (n,)
        No NaN.
    contrast : Contrast

    Returns
    -------
    Influence
        Pooled-variance t of the least-squares fit without each person, by the closed form
        b - (X'X)^-1 x_i e_i / (1 - h_i) (Belsley, Kuh & Welsch 1980, doi:10.1002/0471725153).
    """
    from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

    x = contrast.design
    n, k = x.shape
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    e = y - x @ beta
    h = np.einsum("ij,jk,ik->i", x, inverse, x)
    left = np.maximum(1 - h, 1e-12)
    moved = beta[0] - (x @ inverse[:, 0]) * e / left
    rss = (e**2).sum()
    scale = np.sqrt(np.maximum(rss - e**2 / left, 1e-300) / max(n - k - 1, 1))
    # variance of b_0 without person i: Sherman-Morrison
    factor = inverse[0, 0] + (x @ inverse[:, 0]) ** 2 / left
    t_without = moved / (scale * np.sqrt(factor))
    p_without = 2 * stdtr(n - k - 1, -np.abs(t_without))
    t = beta[0] / np.sqrt(max(rss, 1e-300) / (n - k) * inverse[0, 0])
    worst = int(np.abs(moved - beta[0]).argmax())
    return Influence(
        person=worst,
        estimate=float(beta[0]),
        without=float(moved[worst]),
        p=float(2 * stdtr(n - k, -abs(t))),
        p_without=float(p_without[worst]),
        largest_p_without=float(p_without.max()),
    )


def normal_scores(y: Floats, contrast: Contrast) -> Floats:
    """Replace values by normal scores of their ranks, so that nobody weighs more than another.

    A permutation test of these is a rank test that loses hardly any power when people are normal
    (van der Waerden 1952; Hajek, Sidak & Sen 1999, doi:10.1016/B978-0-12-642350-1.X5017-6).

    Parameters
    ----------
    y : ndarray, shape (n, n_variables)
        No NaN.
    contrast : Contrast
        With sign flips: signed ranks of the values; otherwise ranks. Nuisance is regressed out
        first.

    Returns
    -------
    ndarray, shape (n, n_variables)
    """
    from scipy.special import ndtri  # noqa: PLC0415 - half a second of import
    from scipy.stats import rankdata  # noqa: PLC0415 - half a second of import

    nuisance = contrast.design[:, 1:]
    if contrast.exchange.flips:
        left = y - nuisance @ (np.linalg.pinv(contrast.design)[1:] @ y) if nuisance.size else y
        rank = rankdata(np.abs(left), axis=0) / (len(y) + 1)
        scores = np.sign(left) * ndtri((1 + rank) / 2)
    else:
        left = y - nuisance @ (np.linalg.pinv(nuisance) @ y)
        scores = ndtri(rankdata(left, axis=0) / (len(y) + 1))
    return np.asarray(scores)
