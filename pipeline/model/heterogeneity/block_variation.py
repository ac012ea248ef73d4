"""The variation of change over blocks, against which global terms and circuits are tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.global_model import Response
from circuitshift.pipeline.model.heterogeneity.random_effects import (
    MIN_BLOCKS,
    Background,
    RandomEffects,
    TestOptions,
    random_effects_test,
)
from circuitshift.pipeline.model.heterogeneity.variance import retained_variance
from circuitshift.pipeline.stats.linear_contrast import Contrast

__all__ = ["BlockVariation"]


@dataclass(frozen=True, slots=True, eq=False)
class BlockVariation:
    """Hold the residual change of blocks, and what the global model does to it.

    Parameters
    ----------
    response : Response
        Fitted model with blocks.
    retained : ndarray, shape (n_blocks,)
        Share of the variance over blocks that the global model leaves in each block.
    multiple : mapping of str to float
        Multiple of the variance over blocks for each global term and circuit. For a term, it is the
        variance of its estimate when the changes of blocks are independent with variance 1. For a
        circuit it is 1, plus the part of the change of blocks that enters its prediction.
    levels : ndarray, shape (n_participants, n_blocks), optional
        Level of each block at baseline, for analysis of covariance.
    """

    response: Response
    retained: Floats
    multiple: Mapping[str, float]
    levels: Floats | None = None

    @classmethod
    def of(cls, response: Response, levels: Floats | None = None) -> "BlockVariation | None":
        """Prepare the tests of terms and circuits against the blocks of a fitted model.

        Parameters
        ----------
        response : Response
            Fitted model.
        levels : ndarray, shape (n_participants, n_blocks), optional
            Level of each block at baseline.

        Returns
        -------
        BlockVariation or None
            None if there are fewer than six blocks.
        """
        if len(response.blocks) < MIN_BLOCKS:
            return None
        shares = retained_variance(response.reach)
        n_terms, n_circuits = len(response.terms), len(response.circuits)
        shares[n_terms : n_terms + n_circuits] += 1
        multiple = dict(zip((*response.terms, *response.circuits), shares.tolist(), strict=False))
        return cls(response, shares[n_terms + n_circuits :], multiple, levels)

    @property
    def columns(self) -> npt.NDArray[np.intp]:
        """Position of each block among the columns of ``response.own``."""
        response = self.response
        first = len(response.terms) + len(response.circuits)
        return first + np.arange(len(response.blocks))

    def test(
        self,
        values: Floats,
        terms: Sequence[str],
        contrast: Contrast,
        participants: Bools,
        *,
        models: Sequence[Contrast] | None,
        **options: Unpack[TestOptions],
    ) -> RandomEffects | None:
        """Test circuits against the variation over blocks.

        Parameters
        ----------
        values : ndarray, shape (n_available, n_circuits)
            Residual change of the circuits in the available participants.
        terms : sequence of str
            Names of the circuits.
        contrast : Contrast
            Contrast over the available participants.
        participants : ndarray of bool, shape (n_participants,)
            Available participants.
        models : sequence of Contrast, optional
            Model of each circuit, if each has its own.
        **options
            As for `random_effects_test` (`TestOptions`).

        Returns
        -------
        RandomEffects or None
            None if fewer than six blocks are available in all these participants.
        """
        blocks = self.response.block_values[participants]
        usable: Bools = np.asarray(np.isfinite(blocks).all(axis=0))
        if usable.sum() < MIN_BLOCKS:
            return None
        own = self._own_models(contrast, participants, usable) if models is not None else None
        background = Background(
            blocks[:, usable],
            self._excess(own or [contrast], participants, np.flatnonzero(usable)),
            self.retained[usable],
        )
        return random_effects_test(
            values,
            background,
            contrast if own is None or models is None else [*own, *models],
            multiple=np.array([self.multiple[term] for term in terms]),
            **options,
        )

    def _own_models(
        self, contrast: Contrast, participants: Bools, usable: Bools
    ) -> Sequence[Contrast]:
        """Adjust each block for its level at baseline where possible."""
        plain = [contrast] * int(usable.sum())
        if self.levels is None:
            return plain
        levels = self.levels[participants][:, usable]
        if not np.isfinite(levels).all():
            return plain
        try:
            return contrast.with_own_columns(levels)
        except DesignError:
            return plain

    def _excess(
        self, models: Sequence[Contrast], participants: Bools, blocks: npt.NDArray[np.intp]
    ) -> Floats:
        """Return the variance of block estimates due to regressors that participants share."""
        columns = self.columns[blocks]
        out = np.empty(len(columns))
        for k, model in enumerate(models):
            weights = np.zeros(len(participants))
            weights[participants] = model.weights * model.scale
            found = self.response.excess_variance(weights)
            if len(models) == 1:
                return np.asarray(found[columns])
            out[k] = found[columns[k]]
        return out
