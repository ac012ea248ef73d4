"""Columns of the global model as arrays, and what the model does to a change of single blocks."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.model.centred_features import CentredFeatures, ResidualisedFeatures
from circuitshift.pipeline.model.global_model import Response
from circuitshift.pipeline.stats.missing_values import column_mean

__all__ = ["block_reach", "columns_of_others", "pooled_columns", "reach_of"]


def pooled_columns(sample: CentredFeatures, response: Response) -> Floats:
    """Return the columns of the model, averaged over all participants.

    Parameters
    ----------
    sample : CentredFeatures
        Baselines and reference of the study.
    response : Response
        Fitted model, which states the columns in use.

    Returns
    -------
    ndarray, shape (n_columns, n_features)
        The fixed columns, then those of m, h, w and d that the model contains; NaN where unknown.
    """
    means = {name: _mean(source) for name, source in _sources(sample, response).items()}
    return _stack(sample, response, means)


def columns_of_others(sample: CentredFeatures, response: Response) -> Iterator[tuple[Floats, int]]:
    """Yield the columns of the model for each participant, from the baselines of all others.

    Parameters
    ----------
    sample : CentredFeatures
        Baselines and reference of the study.
    response : Response
        Fitted model, which states the columns in use.

    Yields
    ------
    columns : ndarray, shape (n_columns, n_features)
        As from `pooled_columns`.
    participant : int
        Row of the participant in ``sample.change``.
    """
    sources = _sources(sample, response)
    patients = {k: _LeaveOneOut(source) for k, source in sources.items() if k != "reference"}
    reference = {k: _mean(source) for k, source in sources.items() if k == "reference"}
    for i in range(len(sample.change)):
        means = {name: others.without(i) for name, others in patients.items()}
        yield _stack(sample, response, means | reference), i


def _sources(sample: CentredFeatures, response: Response) -> dict[str, ResidualisedFeatures]:
    """Return the participants whose means are columns of the model."""
    sources = {"m": sample.baseline}
    if response.curvature:
        sources["h"] = sample.strong
    if "global_signal" in response.terms and sample.signal is not None:
        sources["w"] = sample.signal
    if "normalisation" in response.terms:
        sources["reference"] = sample.reference
    return sources


def _stack(sample: CentredFeatures, response: Response, means: dict[str, Floats]) -> Floats:
    columns = [*sample.basis]
    columns += [means["m"]] if "gain" in response.terms else []
    columns += [means[name] for name in ("h", "w") if name in means]
    columns += [means["reference"] - means["m"]] if "reference" in means else []
    return np.array(columns)


def _mean(participants: ResidualisedFeatures) -> Floats:
    return column_mean(block.residual for block in participants.blocks())


class _LeaveOneOut:
    """Means of residualised features over all participants except one."""

    def __init__(self, participants: ResidualisedFeatures) -> None:
        self.participants = participants
        n_features = participants.basis.shape[1]
        self.total, self.count = np.zeros(n_features), np.zeros(n_features)
        for block in participants.blocks():
            available = np.isfinite(block.residual)
            self.total += np.where(available, block.residual, 0.0).sum(axis=0)
            self.count += available.sum(axis=0)

    def without(self, i: int) -> Floats:
        own = self.participants[i : i + 1].residual[0]
        available = np.isfinite(own)
        count = self.count - available
        out = np.full(len(own), np.nan)
        total = self.total - np.where(available, own, 0.0)
        np.divide(total, count, out=out, where=count > 0)
        return out


def block_reach(sample: CentredFeatures, response: Response) -> Floats:
    """Return what remains of a change of single blocks after the fit of the global model.

    Parameters
    ----------
    sample : CentredFeatures
        Features of the study, with blocks.
    response : Response
        Fitted model of the same features.

    Returns
    -------
    ndarray, shape (n_blocks, n_circuits + n_blocks)
        Residual change of each circuit and block when one block changes by 1 and nothing else
        changes.
    """
    columns = pooled_columns(sample, response)
    variables = [*sample.circuits.values(), *sample.blocks.values()]
    return reach_of(columns, sample.background, sample.blocks, variables)


def reach_of(
    columns: Floats,
    background: Bools,
    blocks: Mapping[str, npt.NDArray[np.intp]],
    variables: list[npt.NDArray[np.intp]],
) -> Floats:
    """Project the indicators of blocks on the columns of a model.

    Parameters
    ----------
    columns : ndarray, shape (n_columns, n_features)
        Columns of the model; NaN where unknown.
    background : ndarray of bool, shape (n_features,)
        Features to which the model is fitted.
    blocks : mapping of str to ndarray of int
        Positions of the background features of each block.
    variables : list of ndarray of int
        Positions of the features of each circuit or block whose residual mean is computed.

    Returns
    -------
    ndarray, shape (n_blocks, n_variables)
        Mean over each variable's features of the indicator of each block, minus its least-squares
        prediction.
    """
    known = np.asarray(np.isfinite(columns).all(axis=0))
    used = background & known
    x = columns[:, used]
    scale = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    filled = np.where(known, columns, 0.0) / scale
    inverse = np.linalg.pinv((x / scale) @ (x / scale).T, rcond=1e-10)
    out = np.empty((len(blocks), len(variables)))
    means = np.array([filled[:, part[known[part]]].mean(axis=1) for part in variables])
    for row, positions in enumerate(blocks.values()):
        inside = np.zeros(len(background))
        inside[positions] = 1.0
        beta = inverse @ filled[:, positions[known[positions]]].sum(axis=1)
        own = np.array([inside[part].mean() for part in variables])
        out[row] = own - means @ beta
    return out
