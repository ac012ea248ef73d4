"""Calibration on the user's own people: what the tests say when nothing can have happened.

Two nulls. *Sign flips*: each person's change gets a random sign (and arms are relabelled), which
keeps the study's size, dropout, motion and noise. *Split halves*: the two halves of each person's
baseline series are the visits, in random order.
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
    """Calibrate on a study that has been measured.

    Parameters
    ----------
    bids_dir, output_dir : Path
        As at the group level.
    study : Path or None
        Study file.
    n_studies, seed, n_procs : int
    rules : Rules
        Its number of permutations; the rest is the study's.

    Yields
    ------
    CalibrationRow
        ``sign flips``, and ``split halves`` when series of the baseline are there.

    Raises
    ------
    InputError
        If nothing was measured.
    """
    data_sets = [DataSet(output_dir, bids_dir)]
    others = sorted((output_dir / "datasets").glob("*"))
    if others:
        raise InputError(
            f"{output_dir} has a reference data set; calibration on your own people takes one data "
            "set: leave datasets/ out"
        )
    stated = read_study_file(study) if study else StudyFile()
    context, fitted = fit_study(data_sets, stated, recorded_settings(data_sets))
    own = replace(fitted.rules, n_permutations=rules.n_permutations)
    rows = partial(null_rows, rules=own, n_studies=n_studies, seed=seed, n_procs=n_procs)
    yield rows("sign flips", fitted.visits, context.positions())
    both = baseline_halves(context, fitted)
    if both is not None:
        yield rows("split halves", halves(fitted.visits, *both), context.positions())


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
    visits : Visits
    circuits : mapping of str to ndarray of int
    rules : Rules
    n_studies, seed, n_procs : int

    Returns
    -------
    CalibrationRow
    """
    one = partial(_one, visits=visits, circuits=dict(circuits), rules=rules)
    seeds = np.random.SeedSequence([seed, *name.encode()]).spawn(n_studies)
    if n_procs == 1:
        outcomes = [one(s) for s in seeds]
    else:
        with ProcessPoolExecutor(n_procs, mp_context=get_context("forkserver")) as pool:
            outcomes = list(pool.map(one, seeds, chunksize=max(1, n_studies // 20)))
    return summary(name, _NOTHING, outcomes, rules.alpha)


def _one(
    seed: np.random.SeedSequence, *, visits: Visits, circuits: Circuits, rules: Rules
) -> Outcome:
    rng = np.random.default_rng(seed)
    return outcome_of(analyse(flipped(visits, rng), circuits, rng=rng, rules=rules))


def flipped(visits: Visits, rng: np.random.Generator) -> Visits:
    """Give each person's change, and his change in motion, a random sign; relabel arms.

    Parameters
    ----------
    visits : Visits
    rng : numpy.random.Generator

    Returns
    -------
    Visits
        Two visits, one or two arms; factor and score are left out.
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
    """Take the halves of a visit for the two visits of everybody.

    Parameters
    ----------
    visits : Visits
    first, second : ndarray, shape (n_people, n_edges)

    Returns
    -------
    Visits
        Without motion, which is not known for halves.
    """
    return replace(
        visits,
        baseline=first,
        followup=second,
        motion_mm=None,
        control_baseline=None,
        control_followup=None,
    )
