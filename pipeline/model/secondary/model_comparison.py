"""Leave-one-out comparison of four models of change: nothing, global, specific, both."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryTable,
)

__all__ = ["MODELS", "MODEL_COMPARISON", "Prediction", "compare_models", "predictions"]


#: For each model, whether treatment may change (global terms, specific responses).
MODELS: dict[str, tuple[bool, bool]] = {
    "nothing": (False, False),
    "global": (True, False),
    "specific": (False, True),
    "both": (True, True),
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predictive accuracy of one model.

    Parameters
    ----------
    model : str
        Name of the model; a key of `MODELS`.
    elpd : float
        Expected log predictive density: the sum over participants of the log density of each
        participant under the model fitted to the others.
    difference, se : float
        `elpd` minus that of the best model, and the standard error of this difference over
        participants.
    """

    model: str
    elpd: float
    difference: float
    se: float


def compare_models(
    coefficients: Floats, specific: Floats, *, treated: npt.NDArray[np.bool_] | None = None
) -> list[Prediction]:
    """Predict the coefficients of each participant from the others, under each model.

    The coefficients of a participant are assumed to be multivariate normal with parameters
    estimated from the other participants. The models differ in which means treatment changes;
    means that it does not change are the same in both arms (0 with one arm). All models use the
    shrunk covariance (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4) of the residuals of
    the model *both*.

    Parameters
    ----------
    coefficients : ndarray, shape (n, n_terms)
        Global terms of each participant (without the distance term).
    specific : ndarray, shape (n, n_circuits)
        Response of each circuit in each participant.
    treated : ndarray of bool, shape (n,), optional
        Whether each participant is treated; None if all are.

    Returns
    -------
    list of Prediction
        One for each model, in the order of `MODELS`.

    Raises
    ------
    DesignError
        If fewer than six participants, or fewer than three of an arm, have all values.
    """
    values = np.hstack([coefficients, specific])
    arm = np.ones(len(values), bool) if treated is None else treated
    available = np.isfinite(values).all(axis=1)
    values, arm = values[available], arm[available]
    if len(values) < 6 or min(arm.sum(), len(arm) if treated is None else (~arm).sum()) < 3:
        raise DesignError(
            f"{len(values)} participants have all values; comparing models needs at least six, and "
            "three of each arm"
        )
    spread = values.std(axis=0)
    values = values / np.where(spread > 0, spread, 1.0)
    is_global = np.arange(values.shape[1]) < coefficients.shape[1]
    moved = np.array([np.where(is_global, *flags) for flags in MODELS.values()])
    density = np.array([_density(values, arm, k, moved) for k in range(len(values))])
    total = density.sum(axis=0)
    gap = density - density[:, [total.argmax()]]
    return [
        Prediction(
            name, float(total[m]), float(gap[:, m].sum()), float(gap[:, m].std() * len(gap) ** 0.5)
        )
        for m, name in enumerate(MODELS)
    ]


def _density(
    values: Floats, arm: npt.NDArray[np.bool_], left_out: int, moved: npt.NDArray[np.bool_]
) -> Floats:
    """Return the log density of one participant under each model fitted to the others."""
    from sklearn.covariance import ledoit_wolf  # noqa: PLC0415 - a second of import

    others = np.arange(len(values)) != left_out
    y, on = values[others], arm[others]
    has_control = not arm.all()
    rest = y[~on].mean(axis=0) if has_control else np.zeros(y.shape[1])
    mean_on = y[on].mean(axis=0)
    residual = np.where(on[:, None], y - mean_on, y - rest)
    covariance = ledoit_wolf(residual, assume_centered=True)[0]
    pooled = y.mean(axis=0) if has_control else rest  # unchanged means are pooled over arms
    out = []
    for flags in moved:
        mean = np.where(flags, mean_on if arm[left_out] else rest, pooled)
        gap = values[left_out] - mean
        out.append(-0.5 * (gap @ np.linalg.solve(covariance, gap)))
    log_norm = 0.5 * (np.linalg.slogdet(covariance)[1] + y.shape[1] * np.log(2 * np.pi))
    return np.asarray(np.array(out) - log_norm)


def predictions(data: SecondaryData) -> SecondaryResult:
    """Compare how well four models predict the participants of a study.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        One row per model.

    Raises
    ------
    DesignError
        If there are too few participants.
    """
    response = data.analysis.response
    # the average and the proportional change are sums of other terms
    left_out = ("distance", "average_change", "proportional_change")
    terms = [k for k, name in enumerate(response.terms) if name not in left_out]
    compared = compare_models(
        response.coefficients[:, terms], response.specific, treated=data.visits.treated
    )
    rows = [asdict(row) for row in compared]
    best = max(compared, key=lambda row: row.elpd).model
    return SecondaryResult(
        tables={"models": rows},
        summary={"best_predicting_model": best, "models": rows},
        finding=f"Of four models ({', '.join(MODELS)}), '{best}' predicts left-out participants "
        "best.",
    )


MODEL_COMPARISON = SecondaryAnalysis(
    name="models",
    title="Predictive comparison",
    compute=predictions,
    tables=(
        SecondaryTable(
            name="models",
            caption="Prediction of left-out participants by each model",
            columns={
                "model": "Effects that treatment may have: nothing, global terms, specific "
                "responses, or both",
                "elpd": "Log predictive density, summed over left-out participants",
                "difference": "elpd minus that of the best model",
                "se": "Standard error of the difference, over participants",
            },
        ),
    ),
)
