"""Run the secondary analyses of a study and write their tables."""

from pathlib import Path

import numpy as np

from circuitshift.pipeline.model.contrasts import Levels
from circuitshift.pipeline.model.secondary.record import SecondaryData
from circuitshift.pipeline.model.secondary.secondary import (
    ANALYSES,
    SecondaryResults,
    secondary_analyses,
)
from circuitshift.pipeline.study import pairing
from circuitshift.pipeline.study import tables as group_tables
from circuitshift.pipeline.study.signals.amplitude import log_amplitude
from circuitshift.pipeline.study.signals.arousal import arousal_of_visits
from circuitshift.pipeline.study.signals.motion import visit_motion
from circuitshift.pipeline.study.verdict_file import Context, Fitted, baseline_halves

__all__ = ["write_secondary"]


def write_secondary(context: Context, fitted: Fitted, folder: Path) -> SecondaryResults:
    """Run the secondary analyses of a study and write their tables.

    Parameters
    ----------
    context : Context
        Data, design, atlas and circuits of the study.
    fitted : Fitted
        Primary analysis.
    folder : Path
        Folder ``group/`` of the output data set.

    Returns
    -------
    SecondaryResults
        Results for ``tests.tsv``, ``edges.tsv`` and ``verdict.json``.
    """
    data = SecondaryData(
        analysis=fitted.analysis,
        visits=fitted.visits,
        rules=fitted.rules,
        participants=[group_tables.participant_id_of(m.participant) for m in fitted.cohort.pairs],
        networks=[region.network for region in context.atlas.regions],
        # a separate random stream, so that secondary analyses cannot change the verdict
        rng=np.random.default_rng([context.design.seed, 1]),
        levels=_levels(context, fitted),
        baseline_halves=baseline_halves(context, fitted),
        moderators=fitted.cohort.moderators,
        motion=visit_motion(context, fitted),
        log_sd=log_amplitude(context, fitted.cohort, fitted.strategy),
        arousal=arousal_of_visits(context, fitted),
        treatment_first=fitted.cohort.treatment_first,
    )
    found = secondary_analyses(data)
    for analysis in ANALYSES:
        rows = found.by_analysis[analysis.name].tables
        for table in analysis.tables:
            group_tables.write_rows(
                folder / f"{table.name}.tsv",
                rows.get(table.name, ()),
                table.described(tuple(data.circuits)),
            )
    return found


def _levels(context: Context, fitted: Fitted) -> Levels | None:
    """Collect all visits of treated and control participants, if the study file names visits."""
    names = context.design.visits
    if not names:
        return None
    pool = [m.participant for m in (*fitted.cohort.pairs, *fitted.cohort.lone)]
    rows: list[tuple[pairing.Member, int, pairing.Measured]] = [
        (member, v, fitted.sessions[member.participant, name])
        for member in context.members
        if member.role in ("treated", "control")
        for v, name in enumerate(names)
        if (member.participant, name) in fitted.sessions
    ]
    members = [member for member, _, _ in rows]
    participants = sorted({m.participant for m in members})
    motion = np.array([measured.mean_fd_mm for _, _, measured in rows])
    treated = np.array([m.role == "treated" for m in members])
    sites = sorted({m.site for m in members})
    values = np.array(
        [(*m.covariates, *(float(m.site == site) for site in sites[1:])) for m in members]
    ).reshape(len(rows), -1)
    with np.errstate(invalid="ignore"):
        mean = np.nan_to_num(np.nanmean(values, axis=0)) if values.size else np.empty(0)
    days = dict(context.design.days)
    return Levels(
        z=np.array([measured.z for _, _, measured in rows]),
        person=np.array([participants.index(m.participant) for m in members]),
        owner=np.array(
            [pool.index(m.participant) if m.participant in pool else -1 for m in members]
        ),
        visit=np.array([v for _, v, _ in rows]),
        names=names,
        days=tuple(days[name] for name in names) if days else (),
        treated=None if treated.all() else treated,
        motion_mm=motion if np.isfinite(motion).all() and motion.std() > 0 else None,
        covariates=np.where(np.isfinite(values), values, mean) if values.size else values,
    )
