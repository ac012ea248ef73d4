"""Columns of the global model as arrays."""

from collections.abc import Iterator

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.model.centred_features import CentredFeatures, ResidualisedFeatures
from circuitshift.pipeline.model.global_model import Response
from circuitshift.pipeline.stats.missing_values import column_mean

__all__ = ["columns_of_others"]


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
        The fixed columns, then those of m, h, w and d that the model contains; NaN where unknown.
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
