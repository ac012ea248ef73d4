"""A random-intercept linear mixed model fitted to many variables at once.

For row j of person i, y_ij = x_ij b + u_i + e_ij, with u ~ N(0, person variance) and
e ~ N(0, residual variance) (Laird & Ware 1982, doi:10.2307/2529876). With r the ratio of the two
variances and n_i the rows of a person, the inverse covariance of his rows is

    V_i^-1 = ((I - 1 1' / n_i) + h_i 1 1' / n_i) / residual variance,    h_i = 1 / (1 + n_i r),

so that the data enter by their cross products within people, and by those of the sums of people,
added up over people who have the same number of rows:

    A(r) = X' V^-1 X = sum over k of h_k B_k,    h_k = 1 / (1 + k r),

where k = 0, with h_0 = 1, stands for what is within people; likewise b(r) = X' V^-1 y and c(r) =
y' V^-1 y (in units of the residual variance). Unlike in I - r / (1 + n_i r) 1 1', nothing is
subtracted, and no digits are lost when r is large. The fit minimises over r alone the profiled
deviance (Bates 2015, doi:10.18637/jss.v067.i01)

    D(r) = f log Q(r) + sum over people of log(1 + n_i r) + log det A(r),    Q = c - b' A^-1 b,

where f is rows minus columns; by maximum likelihood f is the rows, and the last term is left out.
All derivatives are analytic. Degrees of freedom are Satterthwaite's, as in lmerTest (Kuznetsova
2017, doi:10.18637/jss.v082.i13).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats, Ints
from circuitshift.pipeline.errors import DesignError

__all__ = ["MixedResult", "fit_mixed"]


_BLOCK = 500_000  # numbers per array: what the caches hold
_GRID = np.linspace(0, 19, 39)  # log(1 + mean rows of a person x ratio of the variances)
_STEPS = 100
_TOLERANCE = 1e-8  # of the last Newton step, after which the error is about its square
_BOUNDARY = "the variance between people is estimated as zero"
_STUCK = "did not converge"
_FEW = "too few people or rows"
_DEFICIENT = "the design is rank deficient for the rows that are known"
_NOTHING = "nothing varies around the design"


@dataclass(frozen=True, slots=True)
class MixedResult:
    """Result of `fit_mixed`.

    Parameters
    ----------
    estimate : ndarray, shape (n_columns, n_variables)
        Coefficients, in the units of the variable per unit of the column.
    se : ndarray, shape (n_columns, n_variables)
        Their standard errors, the ratio of the variances taken as known.
    df : ndarray, shape (n_columns, n_variables)
        Satterthwaite's degrees of freedom.
    statistic, p : ndarray, shape (n_columns, n_variables)
        t, and its two-sided p.
    residual_variance, participant_variance : ndarray, shape (n_variables,)
        In squared units of the variable.
    trouble : tuple of str, length n_variables
        "" or a short sentence. All numbers of a variable in trouble are NaN, unless the trouble
        is that the variance between people is estimated as zero.
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
    """Fit ``y = design b + intercept of the person + residual`` to every variable.

    Parameters
    ----------
    y : array_like, shape (n_rows, n_variables)
        One row per visit, in any unit (Fisher z). NaN: unknown, left out for this variable alone.
        Variables that are known in the same rows are fitted together; others cost a pass each.
    design : array_like, shape (n_rows, n_columns)
        Fixed effects, the constant included; no NaN.
    person : array_like of int or str, shape (n_rows,)
        Whose row it is; in any order, with any number of rows each.
    reml : bool
        Restricted instead of plain maximum likelihood.

    Returns
    -------
    MixedResult

    Raises
    ------
    DesignError
        If lengths differ, the design has NaN, more columns than rows or collinear columns, a value
        is infinite, or nobody has two rows.

    Notes
    -----
    With v the squared standard error, g its gradient with respect to the two variances, and H the
    Hessian of the deviance, df = 2 v^2 / (g' (2 H^-1) g), which does not depend on how the two
    variances are parametrised. Where the variance between people is zero, lmerTest differentiates
    with respect to the standard deviation of people; the gradient of v is nil there, and df is the
    rows minus the columns (by maximum likelihood: the rows).
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
    """Check what was given, and number the people."""
    if y.ndim != 2 or design.ndim != 2 or person.ndim != 1:
        raise DesignError("values and design of a mixed model are tables, and people a list")
    lengths = (len(y), len(design), len(person))
    if len(set(lengths)) > 1:
        raise DesignError(
            "values, design and people have {}, {} and {} rows; give one row per visit to "
            "each".format(*lengths)
        )
    if not np.isfinite(design).all():
        rows = np.flatnonzero(~np.isfinite(design).all(axis=1))
        raise DesignError(
            f"the design is not finite in {len(rows)} rows (the first is row {rows[0]}); fill in "
            "or leave out the visits whose covariates are unknown"
        )
    if np.isinf(y).any():
        raise DesignError("a value is infinite (Fisher z of r = 1?); use NaN for unknown values")
    if design.shape[1] == 0 or design.shape[1] > len(design):
        raise DesignError(
            f"{len(design)} rows cannot carry {design.shape[1]} model columns; use fewer covariates"
        )
    if _rank(design) < design.shape[1]:
        raise DesignError("columns of the design are collinear; leave one of them out")
    code = np.unique(person, return_inverse=True)[1].reshape(-1)
    if np.bincount(code).max() < 2:
        raise DesignError("nobody has two rows; a model of repeated visits needs some who have")
    return np.asarray(code, np.intp)


def _rank(design: Floats) -> int:
    """Rank that does not depend on the units of columns."""
    length = np.sqrt((design**2).sum(axis=0))
    return int(np.linalg.matrix_rank(design / np.where(length > 0, length, 1)))


def _patterns(y: Floats) -> Iterator[tuple[Ints, Ints]]:
    """Yield known rows, and the variables that are known there and only there."""
    available = ~np.isnan(y)
    if available.all():
        yield np.arange(len(y)), np.arange(y.shape[1])
        return
    packed = np.ascontiguousarray(np.packbits(available, axis=0).T)
    number = np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(number, kind="stable")
    for which in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        yield np.flatnonzero(available[:, which[0]]), which


@dataclass(frozen=True, slots=True)
class _Frame:
    """What variables that are known in the same rows share."""

    order: Ints  # (n,) rows by person
    first: Ints  # (n_people,) first row of each
    rows: Ints  # (n_people,) number of rows of each
    sizes: Floats  # (n_sizes,) 0 for what is within people, then the distinct numbers of rows
    participants: Floats  # (n_sizes,) people who have as many; 0 for 0
    basis: Floats  # (n, p) orthonormal, by person; columns within and between people apart
    back: Floats  # (p, p): coefficients of the design are back @ coefficients of the basis
    products: Floats  # (n_sizes, p, p): B_k of the basis

    @classmethod
    def of(cls, design: Floats, code: Ints) -> "_Frame | str":
        """Build it, or say why these rows are not enough."""
        n, p = design.shape
        if n <= p:
            return _FEW
        if _rank(design) < p:
            return _DEFICIENT
        order = np.argsort(code, kind="stable")
        first, rows = np.unique(code[order], return_index=True, return_counts=True)[1:]
        length = np.sqrt((design**2).sum(axis=0))
        q, triangle = np.linalg.qr(design[order] / length)
        within = _split(q, first, rows)[0]
        # Turned so that B_0 is diagonal: columns between people stay exact when r is large.
        share, turn = np.linalg.eigh(within.T @ within)
        share[share < 1e-12] = 0.0
        n_within = np.count_nonzero(share)
        if n - len(rows) <= n_within or len(rows) + n_within <= p:
            return _FEW
        basis = q @ turn
        sums = _split(basis, first, rows)[1]
        sizes, participants = np.unique(rows, return_counts=True)
        return cls(
            order=order,
            first=first,
            rows=rows,
            sizes=np.array([0.0, *sizes]),
            participants=np.array([0.0, *participants]),
            basis=basis,
            back=np.linalg.solve(triangle, turn) / length[:, None],
            products=np.array(
                [np.diag(share), *(sums[rows == k].T @ sums[rows == k] for k in sizes)]
            ),
        )

    def cross(self, residual: Floats) -> Floats:
        """B_k of basis and residuals, then of residuals with themselves; (n_sizes, p + 1, m)."""
        x, x_sums = _split(self.basis, self.first, self.rows)
        y, y_sums = _split(residual, self.first, self.rows)
        x[:, np.diag(self.products[0]) == 0] = 0.0
        groups = [self.rows == k for k in self.sizes[1:]]
        pairs = [(x, y), *((x_sums[g], y_sums[g]) for g in groups)]
        return np.array([np.vstack([a.T @ b, (b**2).sum(axis=0)]) for a, b in pairs])

    def ratio(self, x: Floats) -> Floats:
        """Ratio of the variances, from the scale of the search: nearly linear, then logarithmic."""
        return np.asarray(np.expm1(x) * len(self.rows) / len(self.order))


def _split(a: Floats, first: Ints, rows: Ints) -> tuple[Floats, Floats]:
    """Split rows into what is within people, and sums of people over the root of their rows."""
    sums = np.add.reduceat(a, first, axis=0)
    within = a - np.repeat(sums / rows[:, None], rows, axis=0)
    return within, sums / np.sqrt(rows)[:, None]


@dataclass(frozen=True, slots=True)
class _Slopes:
    """The profiled deviance at one ratio for each variable; derivatives are by the ratio."""

    first: Floats  # (m,) D'
    second: Floats  # (m,) D''
    q: Floats  # (m,)
    q_first: Floats  # (m,) Q'
    coefficients: Floats  # (m, p), of the basis
    inverse: Floats  # (m, p, p): A^-1
    inverse_first: Floats  # (m, p, p): its derivative


def _fit(y: Floats, frame: _Frame, *, reml: bool) -> tuple[Floats, Floats, npt.NDArray[np.object_]]:
    """Estimates, errors and degrees of freedom; residual and person variance; trouble."""
    y = y[frame.order]
    start = frame.basis.T @ y
    residual = y - frame.basis @ start  # so that Q loses no digits to the mean
    varies = (residual**2).sum(axis=0) > 1e-24 * (y**2).sum(axis=0)
    sums = frame.cross(residual)
    x, met = _minimise(sums, frame, varies, reml=reml)
    trouble = np.select([~varies, ~met, x == 0], [_NOTHING, _STUCK, _BOUNDARY], "").astype(object)
    good = np.flatnonzero(met)
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
    """Diagonals of ``back @ a @ back.T``, shape (p, m)."""
    return np.asarray(((back @ a) * back).sum(axis=2).T)


def _freedom(at: _Slopes, shape: Floats, frame: _Frame, *, freedom: int, ratio: Floats) -> Floats:
    """Satterthwaite's degrees of freedom, shape (p, m).

    With the ratio and the logarithm of the residual variance as parameters, the Hessian of the
    deviance is [[a, c], [c, f]], c = -f Q' / Q, and its determinant is f D''. The gradient of
    log v is (u, 1), u that of the logarithm of a diagonal element of A^-1.
    """
    u = _diagonals(frame.back, at.inverse_first) / shape
    cross = -freedom * at.q_first / at.q
    corner = at.second + cross**2 / freedom
    df = freedom * at.second / (freedom * u**2 - 2 * u * cross + corner)
    return np.where(ratio > 0, df, float(freedom))


def _minimise(sums: Floats, frame: _Frame, varies: Bools, *, reml: bool) -> tuple[Floats, Bools]:
    """Minimise the deviance of each variable: a grid, then Newton steps kept in a bracket.

    Returns
    -------
    x : ndarray, shape (n_variables,)
        See `_Frame.ratio`; 0 at the boundary.
    met : ndarray of bool, shape (n_variables,)
        Whether the minimum was found.
    """
    best = _grid(sums, frame, reml=reml).argmin(axis=0)
    low, high = _GRID[np.maximum(best - 1, 0)], _GRID[np.minimum(best + 1, len(_GRID) - 1)]
    x, met = _GRID[best], np.zeros(len(best), dtype=bool)
    active = np.flatnonzero(varies & (best < len(_GRID) - 1))  # its end: nothing within people
    for _ in range(_STEPS):
        if not len(active):
            break
        now = x[active]
        at = _slopes(sums[..., active], frame, frame.ratio(now), reml=reml)
        pace = np.exp(now) * len(frame.rows) / len(frame.order)  # of the ratio along x
        first = at.first * pace
        second = at.second * pace**2 + first
        down, convex = first < 0, second > 0
        low[active] = np.where(down, now, low[active])
        high[active] = np.where(down, high[active], now)
        step = np.divide(-first, second, out=np.full_like(first, np.inf), where=convex)
        edge = (now == 0) & ~down
        step[edge] = 0.0
        done = edge | (convex & (np.abs(step) < _TOLERANCE))
        to = np.maximum(now + step, 0.0)
        inside = (to > low[active]) & (to < high[active])
        x[active] = np.where(inside | done, to, (low[active] + high[active]) / 2)
        met[active[done]] = True
        active = active[~done]
    return x, met


def _grid(sums: Floats, frame: _Frame, *, reml: bool) -> Floats:
    """Profiled deviance on the grid, shape (n_grid, m)."""
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
    """Products of a matrix and a vector for each variable, shape (m, p)."""
    return np.asarray((a @ b[:, :, None])[:, :, 0])
