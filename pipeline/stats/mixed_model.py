"""A random-intercept linear mixed model fitted to many variables at once.

For row j of participant i, y_ij = x_ij b + u_i + e_ij, where u and e are normal with the variances
between participants and of residuals (Laird & Ware 1982, doi:10.2307/2529876). With r the ratio of
the first variance to the second and n_i the number of rows of the participant, the inverse
covariance of these rows is

    V_i^-1 = ((I - 1 1' / n_i) + h_i 1 1' / n_i) / residual variance,    h_i = 1 / (1 + n_i r).

The fit therefore needs only cross products within participants, and cross products of the sums of
participants, summed over participants with the same number of rows k:

    A(r) = X' V^-1 X = sum over k of h_k B_k,    h_k = 1 / (1 + k r).

Cross products within participants are B_0, with h_0 = 1. The terms b(r) = X' V^-1 y and
c(r) = y' V^-1 y are computed likewise, in units of the residual variance. The equivalent form
I - r / (1 + n_i r) 1 1' is not used, because its subtraction loses precision when r is large. The
fit minimises the profiled deviance over r (Bates 2015, doi:10.18637/jss.v067.i01),

    D(r) = f log Q(r) + sum over i of log(1 + n_i r) + log det A(r),    Q = c - b' A^-1 b,

where f is the number of rows minus columns. For maximum likelihood, f is the number of rows, and
the last term is omitted. All derivatives are analytic. Degrees of freedom are those of
Satterthwaite, as in lmerTest (Kuznetsova 2017, doi:10.18637/jss.v082.i13).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats, Ints
from circuitshift.pipeline.errors import DesignError

__all__ = ["MixedResult", "fit_mixed"]


_BLOCK = 500_000  # numbers per array, so that an array fits into the processor caches
_GRID = np.linspace(0, 19, 39)  # log(1 + mean rows per participant x ratio of the variances)
_MAX_STEPS = 100
_TOLERANCE = 1e-8  # size of the last Newton step, after which the error is about its square
_BOUNDARY = "the variance between participants is estimated as zero"
_NOT_CONVERGED = "the fit did not converge"
_TOO_FEW = "too few participants or rows"
_DEFICIENT = "the design is rank deficient for the available rows"
_NO_VARIANCE = "the variable has no variance around the design"


@dataclass(frozen=True, slots=True)
class MixedResult:
    """Hold the result of `fit_mixed`.

    Parameters
    ----------
    estimate : ndarray, shape (n_columns, n_variables)
        Coefficients, in units of the variable per unit of the column.
    se : ndarray, shape (n_columns, n_variables)
        Standard errors of the coefficients, given the estimated ratio of the variances.
    df : ndarray, shape (n_columns, n_variables)
        Satterthwaite's degrees of freedom.
    statistic, p : ndarray, shape (n_columns, n_variables)
        t statistic and its two-sided p value.
    residual_variance, participant_variance : ndarray, shape (n_variables,)
        Estimated variances of residuals and between participants, in squared units of the variable.
    trouble : tuple of str, length n_variables
        Problem of the fit of each variable; empty when there is none. All numbers of a variable
        with a problem are NaN, unless the problem is that the variance between participants is
        estimated as zero.
    """

    estimate: Floats
    se: Floats
    df: Floats
    statistic: Floats
    p: Floats
    residual_variance: Floats
    participant_variance: Floats
    trouble: tuple[str, ...]


def fit_mixed(
    y: npt.ArrayLike, design: npt.ArrayLike, person: npt.ArrayLike, *, reml: bool = True
) -> MixedResult:
    """Fit ``y = design b + intercept of the participant + residual`` to each variable.

    Parameters
    ----------
    y : array_like, shape (n_rows, n_variables)
        Values in any unit, with one row per visit. Rows with NaN are excluded from the fit of this
        variable. Variables with the same available rows are fitted together, which is faster.
    design : array_like, shape (n_rows, n_columns)
        Fixed effects, including the constant, without NaN.
    person : array_like of int or str, shape (n_rows,)
        Participant of each row. Rows may be in any order, and their number may differ between
        participants.
    reml : bool
        Whether to use restricted maximum likelihood instead of maximum likelihood.

    Returns
    -------
    MixedResult
        Coefficients, variances and problems of all variables.

    Raises
    ------
    DesignError
        If the numbers of rows differ, if the design contains NaN, more columns than rows or
        collinear columns, if a value is infinite, or if no participant has two or more rows.

    Notes
    -----
    With v the squared standard error, g its gradient with respect to the two variances, and H the
    Hessian of the deviance, df = 2 v^2 / (g' (2 H^-1) g) (Kuznetsova 2017,
    doi:10.18637/jss.v082.i13), which does not depend on the parametrisation of the variances. Where
    the variance between participants is zero, lmerTest differentiates with respect to the standard
    deviation between participants. The gradient of v is zero there, so that df is the number of
    rows minus columns (for maximum likelihood, the number of rows).
    """
    values, columns = np.asarray(y, float), np.asarray(design, float)
    code = _checked(values, columns, np.asarray(person))
    n_columns, n_variables = columns.shape[1], values.shape[1]
    table = np.full((3, n_columns, n_variables), np.nan)
    variances = np.full((2, n_variables), np.nan)
    trouble = np.full(n_variables, "", dtype=object)
    for rows, which in _patterns(values):
        frame = _Frame.of(columns[rows], code[rows])
        if isinstance(frame, str):
            trouble[which] = frame
            continue
        step = max(1, _BLOCK // (len(code) + len(_GRID) * (n_columns + 1) + n_columns**2))
        for start in range(0, len(which), step):
            part = which[start : start + step]
            fit = _fit(values[np.ix_(rows, part)], frame, reml=reml)
            table[:, :, part], variances[:, part], trouble[part] = fit
    from scipy.special import stdtr  # noqa: PLC0415 - half a second of import

    estimate, se, df = table
    statistic = estimate / se
    return MixedResult(
        estimate=estimate,
        se=se,
        df=df,
        statistic=statistic,
        p=np.asarray(2 * stdtr(df, -np.abs(statistic)), float),
        residual_variance=variances[0],
        participant_variance=variances[1],
        trouble=tuple(trouble.tolist()),
    )


def _checked(y: Floats, design: Floats, person: npt.NDArray[np.generic]) -> Ints:
    """Check the arguments, and number the participants."""
    if y.ndim != 2 or design.ndim != 2 or person.ndim != 1:
        raise DesignError(
            "a mixed model needs values and design with two dimensions and participants with one; "
            f"they have {y.ndim}, {design.ndim} and {person.ndim}"
        )
    lengths = (len(y), len(design), len(person))
    if len(set(lengths)) > 1:
        raise DesignError(
            "values, design and participants have {}, {} and {} rows; each needs one row per "
            "visit".format(*lengths)
        )
    if not np.isfinite(design).all():
        rows = np.flatnonzero(~np.isfinite(design).all(axis=1))
        raise DesignError(
            f"the design is not finite in {len(rows)} rows (the first is row {rows[0]}); complete "
            "the covariates of these visits, or exclude the visits"
        )
    if np.isinf(y).any():
        row, variable = (int(at[0]) for at in np.nonzero(np.isinf(y)))
        raise DesignError(
            f"the value of row {row} and variable {variable} is infinite, as is Fisher z of r = 1; "
            "use NaN for missing values"
        )
    if design.shape[1] == 0 or design.shape[1] > len(design):
        raise DesignError(
            f"{len(design)} rows are not enough for {design.shape[1]} model columns; the design "
            "needs at least one column and at most one per row"
        )
    if _rank(design) < design.shape[1]:
        raise DesignError("columns of the design are collinear; remove one of them")
    code = np.unique(person, return_inverse=True)[1].reshape(-1)
    if np.bincount(code).max() < 2:
        raise DesignError(
            "no participant has two or more visits; a repeated-measures model needs at least some"
        )
    return np.asarray(code, np.intp)


def _rank(design: Floats) -> int:
    """Return the rank of a design, independently of the units of its columns."""
    length = np.sqrt((design**2).sum(axis=0))
    return int(np.linalg.matrix_rank(design / np.where(length > 0, length, 1)))


def _patterns(y: Floats) -> Iterator[tuple[Ints, Ints]]:
    """Yield sets of available rows, and the variables that are available in exactly these rows."""
    available = ~np.isnan(y)
    if available.all():
        yield np.arange(len(y)), np.arange(y.shape[1])
        return
    packed = np.ascontiguousarray(np.packbits(available, axis=0).T)
    number = np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(number, kind="stable")
    for variables in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        yield np.flatnonzero(available[:, variables[0]]), variables


@dataclass(frozen=True, slots=True)
class _Frame:
    """Quantities shared by all variables that are available in the same rows."""

    order: Ints  # (n,) rows sorted by participant
    first: Ints  # (n_participants,) first row of each participant
    rows: Ints  # (n_participants,) number of rows of each participant
    sizes: Floats  # (n_sizes,) 0 for within participants, then the distinct numbers of rows
    participants: Floats  # (n_sizes,) participants with each number of rows; 0 for the first
    basis: Floats  # (n, p) orthonormal, by participant; columns within and between participants
    back: Floats  # (p, p) transforms coefficients of the basis to those of the design
    products: Floats  # (n_sizes, p, p) B_k of the basis

    @classmethod
    def of(cls, design: Floats, code: Ints) -> "_Frame | str":
        """Build the frame, or return the problem of these rows."""
        n, p = design.shape
        if n <= p:
            return _TOO_FEW
        if _rank(design) < p:
            return _DEFICIENT
        order = np.argsort(code, kind="stable")
        first, rows = np.unique(code[order], return_index=True, return_counts=True)[1:]
        length = np.sqrt((design**2).sum(axis=0))
        q, triangle = np.linalg.qr(design[order] / length)
        within = _split(q, first, rows)[0]
        # The basis is rotated so that B_0 is diagonal, which keeps columns between participants
        # exact when r is large.
        share, rotation = np.linalg.eigh(within.T @ within)
        share[share < 1e-12] = 0.0
        n_within = np.count_nonzero(share)
        if n - len(rows) <= n_within or len(rows) + n_within <= p:
            return _TOO_FEW
        basis = q @ rotation
        sums = _split(basis, first, rows)[1]
        sizes, participants = np.unique(rows, return_counts=True)
        return cls(
            order=order,
            first=first,
            rows=rows,
            sizes=np.array([0.0, *sizes]),
            participants=np.array([0.0, *participants]),
            basis=basis,
            back=np.linalg.solve(triangle, rotation) / length[:, None],
            products=np.array(
                [np.diag(share), *(sums[rows == k].T @ sums[rows == k] for k in sizes)]
            ),
        )

    def cross(self, residual: Floats) -> Floats:
        """Return B_k of the basis and residuals, and of residuals with themselves.

        The shape is (n_sizes, p + 1, m); the last row holds the products of residuals.
        """
        x, x_sums = _split(self.basis, self.first, self.rows)
        y, y_sums = _split(residual, self.first, self.rows)
        x[:, np.diag(self.products[0]) == 0] = 0.0
        groups = [self.rows == k for k in self.sizes[1:]]
        pairs = [(x, y), *((x_sums[g], y_sums[g]) for g in groups)]
        return np.array([np.vstack([a.T @ b, (b**2).sum(axis=0)]) for a, b in pairs])

    def ratio(self, x: Floats) -> Floats:
        """Transform the variable of the search to the ratio of the variances.

        The scale is nearly linear for small ratios and logarithmic for large ones.
        """
        return np.asarray(np.expm1(x) * len(self.rows) / len(self.order))


def _split(a: Floats, first: Ints, rows: Ints) -> tuple[Floats, Floats]:
    """Split rows into deviations within participants and scaled sums of participants.

    Sums are divided by the square root of the number of rows.
    """
    sums = np.add.reduceat(a, first, axis=0)
    within = a - np.repeat(sums / rows[:, None], rows, axis=0)
    return within, sums / np.sqrt(rows)[:, None]


@dataclass(frozen=True, slots=True)
class _Slopes:
    """The profiled deviance and its derivatives by the ratio, at one ratio for each variable."""

    first: Floats  # (m,) D'
    second: Floats  # (m,) D''
    q: Floats  # (m,) Q
    q_first: Floats  # (m,) Q'
    coefficients: Floats  # (m, p) coefficients of the basis
    inverse: Floats  # (m, p, p) A^-1
    inverse_first: Floats  # (m, p, p) derivative of A^-1


def _fit(y: Floats, frame: _Frame, *, reml: bool) -> tuple[Floats, Floats, npt.NDArray[np.object_]]:
    """Fit variables that share a frame.

    Returns
    -------
    table : ndarray, shape (3, n_columns, n_variables)
        Coefficients, standard errors and degrees of freedom.
    variances : ndarray, shape (2, n_variables)
        Variances of residuals and between participants.
    trouble : ndarray of str, shape (n_variables,)
        Problems of the fits.
    """
    y = y[frame.order]
    start = frame.basis.T @ y
    residual = y - frame.basis @ start  # Q of residuals loses no precision to the mean
    varies = (residual**2).sum(axis=0) > 1e-24 * (y**2).sum(axis=0)
    sums = frame.cross(residual)
    x, converged = _minimise(sums, frame, varies, reml=reml)
    trouble = np.select(
        [~varies, ~converged, x == 0], [_NO_VARIANCE, _NOT_CONVERGED, _BOUNDARY], ""
    ).astype(object)
    good = np.flatnonzero(converged)
    ratio = frame.ratio(x[good])
    at = _slopes(sums[..., good], frame, ratio, reml=reml)
    freedom = len(y) - len(start) * reml
    variance = at.q / freedom
    shape = _diagonals(frame.back, at.inverse)
    table = np.full((3, len(start), len(x)), np.nan)
    table[0][:, good] = frame.back @ (start[:, good] + at.coefficients.T)
    table[1][:, good] = np.sqrt(shape * variance)
    table[2][:, good] = _freedom(at, shape, frame, freedom=freedom, ratio=ratio)
    variances = np.full((2, len(x)), np.nan)
    variances[:, good] = variance, ratio * variance
    return table, variances, trouble


def _diagonals(back: Floats, a: Floats) -> Floats:
    """Return the diagonals of ``back @ a @ back.T``, shape (p, m)."""
    return np.asarray(((back @ a) * back).sum(axis=2).T)


def _freedom(at: _Slopes, shape: Floats, frame: _Frame, *, freedom: int, ratio: Floats) -> Floats:
    """Compute Satterthwaite's degrees of freedom, shape (p, m).

    With the ratio and the logarithm of the residual variance as parameters, the Hessian of the
    deviance is [[a, c], [c, f]] with c = -f Q' / Q, and its determinant is f D''. The gradient of
    log v is (u, 1), where u is that of the logarithm of a diagonal element of A^-1.
    """
    u = _diagonals(frame.back, at.inverse_first) / shape
    cross = -freedom * at.q_first / at.q
    corner = at.second + cross**2 / freedom
    df = freedom * at.second / (freedom * u**2 - 2 * u * cross + corner)
    return np.where(ratio > 0, df, float(freedom))


def _minimise(sums: Floats, frame: _Frame, varies: Bools, *, reml: bool) -> tuple[Floats, Bools]:
    """Minimise the deviance of each variable on a grid, then by Newton steps within a bracket.

    Returns
    -------
    x : ndarray, shape (n_variables,)
        Minimum on the scale of `_Frame.ratio`; 0 at the boundary.
    converged : ndarray of bool, shape (n_variables,)
        Whether the minimum was found.
    """
    best = _grid(sums, frame, reml=reml).argmin(axis=0)
    low, high = _GRID[np.maximum(best - 1, 0)], _GRID[np.minimum(best + 1, len(_GRID) - 1)]
    x, converged = _GRID[best], np.zeros(len(best), dtype=bool)
    # a minimum at the end of the grid means that there is no variance within participants
    active = np.flatnonzero(varies & (best < len(_GRID) - 1))
    for _ in range(_MAX_STEPS):
        if not len(active):
            break
        now = x[active]
        at = _slopes(sums[..., active], frame, frame.ratio(now), reml=reml)
        rate = np.exp(now) * len(frame.rows) / len(frame.order)  # derivative of the ratio by x
        first = at.first * rate
        second = at.second * rate**2 + first
        down, convex = first < 0, second > 0
        low[active] = np.where(down, now, low[active])
        high[active] = np.where(down, high[active], now)
        step = np.divide(-first, second, out=np.full_like(first, np.inf), where=convex)
        edge = (now == 0) & ~down
        step[edge] = 0.0
        done = edge | (convex & (np.abs(step) < _TOLERANCE))
        new = np.maximum(now + step, 0.0)
        inside = (new > low[active]) & (new < high[active])
        x[active] = np.where(inside | done, new, (low[active] + high[active]) / 2)
        converged[active[done]] = True
        active = active[~done]
    return x, converged


def _grid(sums: Floats, frame: _Frame, *, reml: bool) -> Floats:
    """Return the profiled deviance on the grid, shape (n_grid, m)."""
    h = 1 / (1 + frame.ratio(_GRID)[:, None] * frame.sizes)
    a = np.tensordot(h, frame.products, 1)
    total = np.tensordot(h, sums, 1)
    b, c = total[:, :-1], total[:, -1]
    q = c - (b * np.linalg.solve(a, b)).sum(axis=1)
    freedom = len(frame.order) - len(frame.back) * reml
    penalty = -np.log(h) @ frame.participants + (np.linalg.slogdet(a)[1] if reml else 0.0)
    return np.asarray(freedom * np.log(np.maximum(q, 1e-300)) + penalty[:, None])


def _slopes(sums: Floats, frame: _Frame, ratio: Floats, *, reml: bool) -> _Slopes:
    """Differentiate the profiled deviance, at one ratio for each variable."""
    n, p = frame.basis.shape
    freedom, sizes, participants = n - p * reml, frame.sizes[:, None], frame.participants
    h = 1 / (1 + ratio * sizes)
    weights = (h, -sizes * h**2, 2 * sizes**2 * h**3)
    flat = frame.products.reshape(len(sizes), -1)
    a, a1, a2 = (np.asarray(w.T @ flat).reshape(-1, p, p) for w in weights)
    totals = [(w[:, None] * sums).sum(axis=0).T for w in weights]
    (b, b1, b2), (c, c1, c2) = ([t[:, k] for t in totals] for k in (slice(p), p))
    inverse = np.asarray(np.linalg.inv(a), float)
    beta = _times(inverse, b)
    slope = b1 - _times(a1, beta)
    q = c - (b * beta).sum(axis=1)
    q1 = c1 - (beta * (b1 + slope)).sum(axis=1)
    q2 = c2 - (beta * (2 * b2 - _times(a2, beta))).sum(axis=1)
    q2 -= 2 * (slope * _times(inverse, slope)).sum(axis=1)
    first = freedom * q1 / q + participants @ (sizes * h)
    second = freedom * (q2 / q - (q1 / q) ** 2) - participants @ (sizes * h) ** 2
    turned = inverse @ a1
    if reml:
        first += np.trace(turned, axis1=1, axis2=2)
        second += (inverse * a2 - turned * turned.swapaxes(1, 2)).sum(axis=(1, 2))
    return _Slopes(first, second, q, q1, beta, inverse, -turned @ inverse)


def _times(a: Floats, b: Floats) -> Floats:
    """Return the product of a matrix and a vector for each variable, shape (m, p)."""
    return np.asarray((a @ b[:, :, None])[:, :, 0])
