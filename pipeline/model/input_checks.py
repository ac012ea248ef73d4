"""Checks of the arguments of `circuitshift.pipeline.model.analyse`, before the model is fitted."""

from collections.abc import Mapping, Sequence, Sized
from typing import get_args

import numpy as np

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.contrasts import Rules, Side, Visits
from circuitshift.pipeline.records import Background

__all__ = ["check_input", "check_networks"]


def check_input(
    visits: Visits,
    circuits: Mapping[str, Sized],
    rules: Rules,
    rng: np.random.Generator,
) -> None:
    """Refuse arguments that cannot be analysed, or that would give a meaningless answer.

    Parameters
    ----------
    visits : Visits
        Features and design of the study.
    circuits : mapping of str to ndarray of int
        Positions of the features of each circuit.
    rules : Rules
        Settings of the tests and of the decision.
    rng : numpy.random.Generator
        Source of randomness.

    Raises
    ------
    DesignError
        If there is no circuit, if a direction belongs to no circuit, if a value of `rules` is
        impossible, if two visits of a participant are identical, or if reference participants are
        patients.
    """
    if not isinstance(rng, np.random.Generator):
        raise DesignError(
            f"rng is {type(rng).__name__}; it must be a generator, for example "
            "numpy.random.default_rng(1)"
        )
    if not circuits:
        raise DesignError(
            "there is no circuit; give the positions of the features of at least one circuit "
            "(FeatureSpace.positions)"
        )
    _check_sides(circuits, rules)
    _check_rules(rules)
    _check_copies(visits)
    _check_reference(visits)


def check_networks(networks: Sequence[str] | None, features: FeatureSpace) -> None:
    """Refuse a list of networks that does not name one network for each region.

    Parameters
    ----------
    networks : sequence of str or None
        Network of each region.
    features : FeatureSpace
        Feature space of the study.

    Raises
    ------
    DesignError
        If the list has another length.
    """
    n = features.n_regions
    if networks is not None and len(networks) != n:
        raise DesignError(
            f"networks has {len(networks)} entries for {n} regions; give the network of each "
            "region, and an empty string for a region without a network"
        )


def _check_sides(circuits: Mapping[str, Sized], rules: Rules) -> None:
    """Refuse directions of unknown circuits, and words that are not directions."""
    unknown = sorted(set(rules.sides) - set(circuits))
    if unknown:
        verb = "is" if len(unknown) == 1 else "are"
        raise DesignError(
            f"sides of Rules names {', '.join(unknown)}, which {verb} not among the circuits "
            f"({', '.join(circuits)})"
        )
    allowed = get_args(Side)
    wrong = {name: side for name, side in rules.sides.items() if side not in allowed}
    if wrong:
        raise DesignError(
            f"sides of Rules: {wrong} contains an unknown direction; use one of "
            f"{', '.join(map(repr, allowed))}"
        )


def _check_rules(rules: Rules) -> None:
    """Refuse impossible values, and list all of them."""
    problems = []
    if not 0 < rules.alpha < 0.5:
        problems.append(f"alpha = {rules.alpha:g} (above 0 and below 0.5, usually 0.05)")
    if not isinstance(rules.n_permutations, int | np.integer) or rules.n_permutations < 1:
        problems.append(f"n_permutations = {rules.n_permutations} (an integer above 0)")
    for name in ("sesoi", "sesoi_d", "sesoi_gain", "sesoi_share", "sesoi_tau"):
        value = getattr(rules, name)
        if value is not None and not 0 < value < np.inf:
            problems.append(f"{name} = {value:g} (above 0)")
    if rules.background not in get_args(Background):
        allowed = ", ".join(map(repr, get_args(Background)))
        problems.append(f"background = {rules.background!r} (one of {allowed})")
    if problems:
        raise DesignError(f"Rules contains values that are not possible: {'; '.join(problems)}")


def _check_copies(visits: Visits) -> None:
    """Refuse participants with two identical visits, since one of them must be a copy."""
    pairs = [("baseline and follow-up", visits.baseline, visits.followup)]
    if visits.control_baseline is not None and visits.control_followup is not None:
        control = visits.control_baseline, visits.control_followup
        pairs.append(("baseline and follow-up of the control condition", *control))
        pairs.append(("the follow-ups of both conditions", visits.followup, control[1]))
    for names, first, second in pairs:
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        copies = np.flatnonzero(same.all(axis=1) & np.isfinite(first).any(axis=1))
        if copies.size:
            listed = ", ".join(str(row + 1) for row in copies[:5])
            raise DesignError(
                f"{names} are identical in {copies.size} of {len(same)} participants "
                f"(row {listed}{', ...' * (copies.size > 5)}); one of the visits is a copy of the "
                "other"
            )


def _check_reference(visits: Visits) -> None:
    """Refuse a reference group that contains patients, since the groups would share noise."""
    if visits.reference is None:
        return
    patients = {row.tobytes(): k for k, row in enumerate(visits.baseline)}
    duplicates = [k for k, row in enumerate(visits.reference) if row.tobytes() in patients]
    if duplicates:
        raise DesignError(
            f"{len(duplicates)} of {len(visits.reference)} reference participants have the same "
            f"{visits.features.plural} as the baseline of a patient (the first is reference "
            f"participant {duplicates[0] + 1}). The reference group must consist of other "
            "participants; check [groups] reference and --reference-dataset"
        )
