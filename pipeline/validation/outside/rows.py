"""List the truths of the table ``outside``, with the claims that each of them allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.model.regression.fit import AVERAGE, PROPORTIONAL
from circuitshift.pipeline.validation.outside.effects import (
    AmplitudesOfNetworks,
    Attenuation,
    Blocks,
    Distance,
    Effect,
    Gain,
    GlobalSignal,
    HierarchyGain,
    Hub,
    Normalisation,
    Nothing,
    PersonalGains,
    Regional,
    Responders,
    Saturating,
    Shift,
    SignalLoss,
    Specific,
    Standardised,
    Step,
    Sum,
    Unnamed,
)
from circuitshift.pipeline.validation.outside.series import Design
from circuitshift.pipeline.validation.outside.world import World

__all__ = ["ROWS", "Row", "circuit_changes", "rows_of", "select_rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """Truth that is planted, and the claims about it that are true.

    Parameters
    ----------
    effect : Effect
        Effect of treatment.
    design : Design
        Size and difficulties of the simulated study.
    laws : frozenset of str
        Global terms whose claim is true; every other global term is a false claim.
    circuits : mapping of str to {-1, 1}
        Circuits that change beyond the background, with their direction.
    widespread : {"no", "allowed", "yes"}
        Whether ``widespread`` is a false claim, one of several right ones, or the right one.
    values : mapping of str to float
        True values of global terms; terms that have no true value in this row are absent.
    is_exact : bool
        Whether the true change of each circuit beyond the background is defined
        (`circuit_changes`), so that coverage and bias can be computed.
    in_real_series : bool
        Whether the truth can also be planted in measured series, that is, needs neither a reference
        group nor a special design.
    """

    effect: Effect
    design: Design = field(default_factory=Design)
    laws: frozenset[str] = frozenset()
    circuits: Mapping[str, int] = field(default_factory=dict)
    widespread: Literal["no", "allowed", "yes"] = "no"
    values: Mapping[str, float] = field(default_factory=dict)
    is_exact: bool = False
    in_real_series: bool = True

    @property
    def is_null(self) -> bool:
        """Whether nothing that the verdict can name is planted."""
        return not (self.laws or self.circuits or self.widespread != "no")


def circuit_changes(effect: Effect, world: World) -> dict[str, float]:
    """Return the planted change of each circuit beyond the background.

    Parameters
    ----------
    effect : Effect
        Effect of treatment, of a row that is exact.
    world : World
        Provides the circuits, and the spread of their changes.

    Returns
    -------
    dict of str to float
        Change of each circuit of the world, Fisher z.
    """
    out = dict.fromkeys(world.circuits, 0.0)
    parts = effect.parts if isinstance(effect, Sum) else (effect,)
    for part in parts:
        if isinstance(part, Specific):
            out |= dict(part.sizes)
        elif isinstance(part, Standardised):
            out[part.circuit] = part.d * world.change_sd[part.circuit]
    return out


_LAWS = ("shift", "gain", "normalisation", "global_signal")
_TOTALS = frozenset({AVERAGE, PROPORTIONAL})  # changes of the model without w
_NONE = dict.fromkeys((*_LAWS, *_TOTALS), 0.0)
_GAIN = {"gain": 0.2, PROPORTIONAL: 0.2, "normalisation": 0.0, "global_signal": 0.0}
_STRENGTH = _TOTALS | {"shift", "gain"}  # a gain also shifts an edge of average strength
_SIGNAL = _TOTALS | {"global_signal"}


def _null(design: Design | None = None, effect: Effect | None = None, *, real: bool = False) -> Row:
    return Row(
        effect or Nothing(),
        design or Design(),
        values=_NONE,
        is_exact=True,
        in_real_series=real,
    )


def _specific(effect: Effect, **signs: int) -> Row:
    return Row(effect, circuits=signs, values=_NONE, is_exact=True)


#: Rows whose effect the model can express, and difficult designs. With the names below, the keys
#: enter the random seeds: renaming a row changes its numbers.
_INSIDE: dict[str, Row] = {
    "nothing": _null(real=True),
    "shift": Row(
        Shift(),
        laws=frozenset({"shift", AVERAGE}),
        values=_NONE | {"shift": 0.08, AVERAGE: 0.08},
        is_exact=True,
    ),
    "gain": Row(
        Gain(),
        laws=_STRENGTH,
        values=_GAIN,
        is_exact=True,
    ),
    "r' = .8 r": Row(Attenuation(), laws=_STRENGTH, is_exact=True),
    "saturating": Row(Saturating(), laws=_STRENGTH),
    "step": Row(Step(), laws=_STRENGTH, widespread="allowed"),
    "normalisation": Row(
        Normalisation(),
        laws=frozenset({"normalisation", AVERAGE}),  # the deviation has a mean
        values={"shift": 0.0, "gain": 0.0, "normalisation": 0.5, "global_signal": 0.0},
        is_exact=True,
        in_real_series=False,
    ),
    "gain + specific": Row(
        Sum((Gain(), Specific())),
        laws=_STRENGTH,
        circuits={"dmn": -1},
        values=_GAIN,
        is_exact=True,
    ),
    "gain in half of the participants": Row(Responders(Gain(0.3)), laws=_STRENGTH, is_exact=True),
    "personal gains with mean zero": _null(effect=PersonalGains(), real=True),
    "heavy tails": _null(Design(tails_df=3.0)),
    "8 participants": _null(Design(n_treated=8)),
    "follow-up of half the length": _null(Design(volumes=(200, 100))),
    "motion, reliability .6": _null(Design(motion_reliability=0.6)),
    "motion, reliability .72": _null(Design(motion_reliability=0.72)),
    "distance": _null(effect=Distance()),
}

#: Rows whose effect lies outside the model, or whose design misleads it.
_OUTSIDE: dict[str, Row] = {
    "two unnamed networks": Row(Unnamed(), widespread="yes"),
    "one unnamed network": Row(Unnamed((0.15,)), widespread="yes"),
    "pairs of networks, N(0, .05)": Row(Blocks(), widespread="yes"),
    "amplitudes of networks": Row(AmplitudesOfNetworks(), widespread="yes"),
    "regional, N(0, .03)": Row(Regional(), widespread="allowed"),
    "global signal +35 %": Row(GlobalSignal(1.35), laws=_SIGNAL),
    "global signal -25 %": Row(GlobalSignal(0.75), laws=_SIGNAL),
    "gain along the hierarchy": Row(HierarchyGain(), laws=_STRENGTH, widespread="allowed"),
    "hubs": Row(Hub(), widespread="allowed"),
    "signal lost in four DMN regions": Row(SignalLoss(), widespread="allowed"),
    "signal lost in four DMN regions, measured": Row(
        SignalLoss(), Design(quality_error=0.1), widespread="allowed", in_real_series=False
    ),
    "selected for a strong DMN": _null(Design(selected=True)),
}

#: Rows with a change of circuits.
_SPECIFIC: dict[str, Row] = {
    "specific, weak circuit": _specific(Specific({"dlpfc_amygdala": 0.12}), dlpfc_amygdala=1),
    "specific, strong circuit": _specific(Specific(), dmn=-1),
    "specific, large circuit": _specific(Specific({"dmn_tpn": 0.08}), dmn_tpn=1),
    "specific, three with opposite signs": _specific(
        Specific({"dmn": -0.1, "tpn": 0.08, "dlpfc_amygdala": 0.12}),
        dmn=-1,
        tpn=1,
        dlpfc_amygdala=1,
    ),
    "specific, d = .4": _specific(Standardised(), dmn=-1),
}

_ONE_ARM = {
    "crossover in fixed order, day effect": _null(Design(crossover=True, day=Shift(0.05))),
}
_TWO_ARMS = {"8 against 30, two arms": _null(Design(n_treated=8, n_control=30))}


def rows_of(arms: int) -> dict[str, Row]:
    """Return the rows of studies with one or with two arms.

    Parameters
    ----------
    arms : {1, 2}
        Number of arms.

    Returns
    -------
    dict of str to Row
        Rows by name. Names of two-arm rows end in ``, two arms``, and their control arm has 30
        participants.
    """
    both = _INSIDE | _OUTSIDE | _SPECIFIC
    if arms == 1:
        return both | _ONE_ARM
    return {
        f"{name}, two arms": replace(
            row, design=replace(row.design, n_control=8 if row.design.n_treated == 8 else 30)
        )
        for name, row in both.items()
    } | _TWO_ARMS


#: All rows by name.
ROWS: dict[str, Row] = rows_of(1) | rows_of(2)


def select_rows(
    names: Sequence[str], *, arms: int | None = None, measured: bool = False
) -> tuple[str, ...]:
    """Return the names of the rows of a table.

    Parameters
    ----------
    names : sequence of str
        Requested rows; empty for all.
    arms : {1, 2}, optional
        Number of arms. Default: both.
    measured : bool
        Whether effects are planted in measured series.

    Returns
    -------
    tuple of str
        Names of rows in `ROWS`.

    Raises
    ------
    InputError
        If a name is unknown, or its row is not available with these options.
    """
    counts = (1, 2) if arms is None else (arms,)
    available = [
        name
        for count in counts
        for name, row in rows_of(count).items()
        if row.in_real_series or not measured
    ]
    unknown = [name for name in names if name not in available]
    if unknown:
        raise InputError(
            f"there is no row {', '.join(map(repr, unknown))} with these options; choose among "
            f"{', '.join(map(repr, available))}"
        )
    return tuple(names) or tuple(available)
