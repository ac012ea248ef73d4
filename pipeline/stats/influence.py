"""The influence of single participants on a test, and normal scores for rank tests."""

from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.stats.permutation import Contrast

__all__ = ["Influence", "influence", "normal_scores"]


@dataclass(frozen=True, slots=True)
class Influence:
    """Hold the result of leaving out each participant once.

    Parameters
    ----------
    person : int
        Row of the participant whose omission changes the estimate most.
    estimate, without : float
        Estimate from all participants, and without that participant.
    p, p_without : float
        Parametric p values (t test) of both estimates, for comparison with each other only.
    largest_p_without : float
        Largest parametric p value when one participant is left out, which shows whether
        significance depends on a single participant.
    """

    person: int
    estimate: float
    without: float
    p: float
    p_without: float
    largest_p_without: float


def influence(y: Floats, contrast: Contrast) -> Influence:
    """Repeat a test without each participant.

    Parameters
    ----------
    y : ndarray, shape (n_participants,)
        Values without NaN.
    contrast : Contrast
        Linear model and its coefficient of interest.

    Returns
    -------
    Influence
        The most influential participant, with estimates and p values.

    Notes
    -----
    The statistic is the t of least squares with pooled variance. Without participant i, with
    residual e_i and leverage h_i, coefficients and residual sum of squares are
    b - (X'X)^-1 x_i e_i / (1 - h_i) and RSS - e_i^2 / (1 - h_i) (Belsley, Kuh & Welsch 1980,
    doi:10.1002/0471725153).
    """
    from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

    x = contrast.design
    n, k = x.shape
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    e = y - x @ beta
    h = np.einsum("ij,jk,ik->i", x, inverse, x)
    one_minus_h = np.maximum(1 - h, 1e-12)
    without = beta[0] - (x @ inverse[:, 0]) * e / one_minus_h
    rss = (e**2).sum()
    scale = np.sqrt(np.maximum(rss - e**2 / one_minus_h, 1e-300) / max(n - k - 1, 1))
    # the Sherman-Morrison formula gives the variance of b_0 without participant i
    factor = inverse[0, 0] + (x @ inverse[:, 0]) ** 2 / one_minus_h
    t_without = without / (scale * np.sqrt(factor))
    p_without = 2 * stdtr(n - k - 1, -np.abs(t_without))
    t = beta[0] / np.sqrt(max(rss, 1e-300) / (n - k) * inverse[0, 0])
    most = int(np.abs(without - beta[0]).argmax())
    return Influence(
        person=most,
        estimate=float(beta[0]),
        without=float(without[most]),
        p=float(2 * stdtr(n - k, -abs(t))),
        p_without=float(p_without[most]),
        largest_p_without=float(p_without.max()),
    )


def normal_scores(y: Floats, contrast: Contrast) -> Floats:
    """Replace values by normal scores of their ranks, which limits the influence of outliers.

    Parameters
    ----------
    y : ndarray, shape (n_participants, n_variables)
        Values without NaN.
    contrast : Contrast
        Linear model. Its nuisance columns are regressed out first; with sign flips, ranks are
        signed ranks.

    Returns
    -------
    ndarray, shape (n_participants, n_variables)
        Normal scores.

    Notes
    -----
    A permutation test of normal scores is a rank test with little loss of power for normal data
    (van der Waerden 1952; Hajek, Sidak & Sen 1999, doi:10.1016/B978-0-12-642350-1.X5017-6). Scores
    are quantiles of the normal distribution at rank / (n + 1). Signed scores are those of the ranks
    of absolute values, at (1 + rank / (n + 1)) / 2, with the sign of the value.
    """
    from scipy.special import ndtri  # noqa: PLC0415 - half a second of import
    from scipy.stats import rankdata  # noqa: PLC0415 - half a second of import

    nuisance = contrast.design[:, 1:]
    if contrast.exchange.flips:
        residual = y - nuisance @ (np.linalg.pinv(contrast.design)[1:] @ y) if nuisance.size else y
        rank = rankdata(np.abs(residual), axis=0) / (len(y) + 1)
        scores = np.sign(residual) * ndtri((1 + rank) / 2)
    else:
        residual = y - nuisance @ (np.linalg.pinv(nuisance) @ y)
        scores = ndtri(rankdata(residual, axis=0) / (len(y) + 1))
    return np.asarray(scores)
