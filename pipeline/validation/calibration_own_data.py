"""Estimate error rates of the tests in a measured study under a true null hypothesis.

Two null distributions are available. *Sign flips* give the change of each participant a random sign
and exchange arm labels, which preserves the size, dropout, motion and noise of the study. *Split
halves* take the two halves of each participant's baseline series as the two visits, in random
order.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.contrasts import Rules, Visits
from circuitshift.pipeline.study.group_level import DataSet, fit_study, recorded_settings
from circuitshift.pipeline.study.study_file import StudyFile, read_study_file
from circuitshift.pipeline.study.verdict_file import baseline_halves
from circuitshift.pipeline.validation.calibration import (
    CalibrationRow,
    Outcome,
    outcome_of,
    summary,
)
from circuitshift.pipeline.validation.simulate.edges import TRUTHS, EdgeSpec
from circuitshift.pipeline.validation.simulate.scenarios import Scenario

__all__ = ["flipped", "halves", "null_rows", "own_table"]

Circuits = Mapping[str, npt.NDArray[np.intp]]

_NOTHING = Scenario(
    TRUTHS["nothing"], EdgeSpec(), is_global=False, is_specific=False, naive_is_valid=True
)


def own_table(
    bids_dir: Path,
    output_dir: Path,
    study: Path | None,
    *,
    n_studies: int,
    seed: int,
    rules: Rules,
    n_procs: int,
) -> Iterator[CalibrationRow]:
    """Calibrate the tests on a study that has been measured.

    Parameters
    ----------
    bids_dir, output_dir : Path
        BIDS data set and output folder, as given to the group level.
    study : Path or None
        Study file.
    n_studies, seed, n_procs : int
        Number of random exchanges per null distribution, random seed, and number of processes.
    rules : Rules
        Provides the number of permutations; all other rules are those of the study.

    Yields
    ------
    CalibrationRow
        Results of ``sign flips``, and of ``split halves`` if regional series of the baseline are
        available.

    Raises
    ------
    InputError
        If no participant was measured, or the output folder has a reference data set.
    """
    data_sets = [DataSet(output_dir, bids_dir)]
    reference_sets = sorted((output_dir / "datasets").glob("*"))
    if reference_sets:
        raise InputError(
            f"{output_dir}: calibration needs a single data set, but datasets/ contains "
            f"{', '.join(path.name for path in reference_sets)}; calibrate in an output folder "
            "without a reference data set"
        )
    study_file = read_study_file(study) if study else StudyFile()
    context, fitted = fit_study(data_sets, study_file, recorded_settings(data_sets))
    own = replace(fitted.rules, n_permutations=rules.n_permutations)
    rows = partial(null_rows, rules=own, n_studies=n_studies, seed=seed, n_procs=n_procs)
    yield rows("sign flips", fitted.visits, context.positions())
    half_edges = baseline_halves(context, fitted)
    if half_edges is not None:
        yield rows("split halves", halves(fitted.visits, *half_edges), context.positions())


def null_rows(
    name: str,
    visits: Visits,
    circuits: Circuits,
    *,
    rules: Rules,
    n_studies: int,
    seed: int,
    n_procs: int,
) -> CalibrationRow:
    """Analyse many random exchanges of the visits of a study.

    Parameters
    ----------
    name : str
        Name of the null distribution, which enters the random seed.
    visits : Visits
        Edges of both visits of all participants.
    circuits : mapping of str to ndarray of int
        Positions of the edges of each circuit.
    rules : Rules
        Rules of the analysis.
    n_studies, seed, n_procs : int
        Number of random exchanges, random seed, and number of processes.

    Returns
    -------
    CalibrationRow
        Rejection rates and verdicts under the null hypothesis.
    """
    one = partial(_analyse_flipped, visits=visits, circuits=dict(circuits), rules=rules)
    seeds = np.random.SeedSequence([seed, *name.encode()]).spawn(n_studies)
    if n_procs == 1:
        outcomes = [one(s) for s in seeds]
    else:
        with ProcessPoolExecutor(n_procs, mp_context=get_context("forkserver")) as pool:
            outcomes = list(pool.map(one, seeds, chunksize=max(1, n_studies // 20)))
    return summary(name, _NOTHING, outcomes, rules.alpha)


def _analyse_flipped(
    seed: np.random.SeedSequence, *, visits: Visits, circuits: Circuits, rules: Rules
) -> Outcome:
    rng = np.random.default_rng(seed)
    return outcome_of(analyse(flipped(visits, rng), circuits, rng=rng, rules=rules))


def flipped(visits: Visits, rng: np.random.Generator) -> Visits:
    """Give the change of each participant a random sign, and permute arm labels.

    The change in head motion receives the same sign as the change in edges. Arm labels are permuted
    within exchangeability blocks.

    Parameters
    ----------
    visits : Visits
        Edges of both visits.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    Visits
        Two visits of one or two arms, without factor and symptom score.
    """
    sign = 1.0 - 2.0 * rng.integers(0, 2, len(visits.baseline))
    before = visits.before
    treated = visits.treated
    if treated is not None:
        treated = treated.copy()
        blocks = visits.blocks if visits.blocks is not None else np.zeros(len(treated), int)
        for block in np.unique(blocks):
            own = blocks == block
            treated[own] = rng.permutation(treated[own])
    return replace(
        visits,
        baseline=before,
        followup=before + sign[:, None] * visits.change,
        treated=treated,
        motion_mm=None if visits.motion_mm is None else sign * visits.motion_mm,
        control_baseline=None,
        control_followup=None,
        factor=None,
        symptom=None,
    )


def halves(visits: Visits, first: Floats, second: Floats) -> Visits:
    """Replace the two visits of each participant by the two halves of one visit.

    Parameters
    ----------
    visits : Visits
        Study that the participants belong to.
    first, second : ndarray, shape (n_participants, n_edges)
        Edges of each half, Fisher z.

    Returns
    -------
    Visits
        Study without head motion, which is not available for halves.
    """
    return replace(
        visits,
        baseline=first,
        followup=second,
        motion_mm=None,
        control_baseline=None,
        control_followup=None,
    )
