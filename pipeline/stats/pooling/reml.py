"""Restricted maximum likelihood for the variance of true effects."""

import numpy as np

from circuitshift.pipeline.arrays import Floats

__all__ = ["reml_tau"]


def reml_tau(estimate: Floats, variance: Floats, design: Floats | None = None) -> float:
    """Estimate tau, the standard deviation of true effects, by restricted maximum likelihood.

    Errors of different estimates are treated as independent.

    Parameters
    ----------
    estimate, variance : ndarray, shape (n_estimates,)
        Estimates, for example of studies or of blocks, and their sampling variances, above 0.
    design : ndarray, shape (n_estimates, n_columns), optional
        Columns whose coefficients are fitted; by default, the mean of the true values is 0.

    Returns
    -------
    float
        tau, in the unit of the estimates.

    Notes
    -----
    The restricted log likelihood is -(sum ln u_i + ln det X' U^-1 X + r' U^-1 r) / 2 with
    u_i = v_i + tau^2 and r the residuals of weighted least squares (Viechtbauer 2005,
    doi:10.3102/10769986030003261).
    """
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - half a second of import

    x = np.empty((len(estimate), 0)) if design is None else design

    def deviance(tau2: float) -> float:
        u = variance + tau2
        information = (x / u[:, None]).T @ x
        beta = np.linalg.solve(information, x.T @ (estimate / u)) if x.shape[1] else np.zeros(0)
        rest = estimate - x @ beta
        log_det = np.linalg.slogdet(information)[1] if x.shape[1] else 0.0
        return float(np.log(u).sum() + log_det + (rest**2 / u).sum())

    largest = 10 * float(np.mean(estimate**2)) + 1e-300
    # the deviance may have two minima, of which the search finds one
    grid = np.r_[0.0, np.geomspace(1e-6, 1.0, 200) * largest]
    at = int(np.argmin([deviance(value) for value in grid]))
    bounds = (grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)])
    options = {"xatol": 1e-12 * largest}
    found = minimize_scalar(deviance, bounds=bounds, method="bounded", options=options)
    best = found.x if found.fun < deviance(grid[at]) else grid[at]
    return float(np.sqrt(best))
