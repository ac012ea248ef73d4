"""Analyse a study from the matrices of all participants to tests, verdict and tables.

This module connects files to the pairing of visits (`circuitshift.pipeline.study.pairing`), the
model (`circuitshift.pipeline.model.analyse`) and the quality measures of the group level. All input
is read from files, so that the group level can be repeated, audited, and applied to the output of
other software.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from circuitshift.atlases.records import Atlas, Circuit
from circuitshift.atlases.resolve import load_circuits, none_located
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.bids.participants import ParticipantTable, read_participants
from circuitshift.pipeline.errors import CircuitshiftError, DesignError, InputError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import recorded_digests
from circuitshift.pipeline.io.provenance import code_hash
from circuitshift.pipeline.measure.atlas_files import read_atlas
from circuitshift.pipeline.model import analyse as model
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings
from circuitshift.pipeline.study import pairing
from circuitshift.pipeline.study import tables as group_tables
from circuitshift.pipeline.study.members import (
    DataSet,
    GroupInput,
    harmonised,
    recorded_selection,
    study_members,
)
from circuitshift.pipeline.study.missing_regions import (
    MISSING_COLUMNS,
    match_visits,
    missing_rows,
    missing_sentence,
)
from circuitshift.pipeline.study.preregistration import compare_plan, installed_code, plan_of
from circuitshift.pipeline.study.protocol.add import add_protocol
from circuitshift.pipeline.study.quality import exclude_rated
from circuitshift.pipeline.study.ratings import FOLDER, Rating, read_ratings
from circuitshift.pipeline.study.resolution.describe import DESIGN_FILE, design_record
from circuitshift.pipeline.study.resolution.observe import observe
from circuitshift.pipeline.study.resolution.records import Observed, Resolution
from circuitshift.pipeline.study.resolution.resolve import require, resolve
from circuitshift.pipeline.study.secondary_tables import write_secondary
from circuitshift.pipeline.study.signals.amplitude import signal_quality
from circuitshift.pipeline.study.study_file import Design, StudyFile
from circuitshift.pipeline.study.validity import group_files, is_current, origins_of
from circuitshift.pipeline.study.verdict_file import (
    Context,
    Fitted,
    edge_motion,
    global_signal_of,
    verdict_content,
    with_titles,
)

__all__ = [
    "DataSet",
    "GroupFiles",
    "fit_study",
    "read_input",
    "recorded_settings",
    "resolve_study",
    "run_group",
]

_MAX_LISTED = 10  # participants that a message names
_PARTIAL = {"global_signal": "its effect on partial correlations is not known"}


class GroupFiles(NamedTuple):
    """Paths of the files that `run_group` writes."""

    verdict: Path
    tests: Path
    circuits: Path
    change: Path
    exclusions: Path
    edges: Path


def read_input(data_sets: Sequence[DataSet], ratings: Sequence[Rating] = ()) -> GroupInput:
    """Read the results of the participant level of each data set.

    Parameters
    ----------
    data_sets : sequence of DataSet
        Data sets of the study; the main data set comes first.
    ratings : sequence of Rating
        Decisions of raters. Sessions rated ``exclude`` are marked as excluded, and sessions rated
        ``doubt`` cause a warning.

    Returns
    -------
    GroupInput
        Table rows of all runs, tables of participants, notes and doubts of raters.

    Raises
    ------
    InputError
        If a data set contains no measured participant.
    """
    rows: list[dict[str, str]] = []
    participants: dict[str, ParticipantTable] = {}
    labels: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for data_set in data_sets:
        measured = []
        for path in sorted(data_set.outputs.glob("sub-*/sub-*_runs.tsv")):
            label = path.parent.name.removeprefix("sub-")
            measured.append(label)
            origin = {"person": data_set.key(label), "root": str(data_set.outputs)}
            rows += [row | origin for row in tables.read_table(path).rows()]
        if not measured:
            raise InputError(
                f"{data_set.outputs} contains no measured participants (sub-*/sub-*_runs.tsv); "
                "run the participant level first"
            )
        found = read_participants(data_set.participants, data_set.table)
        notes += [*found.notes, *map(str, found.problems)]
        participants[data_set.name] = found
        labels[data_set.name] = tuple(sorted({*found.labels, *measured}))
    rated, doubts = _rated(rows, ratings)
    for rating, sentence in _without_effect(rows, ratings):
        (doubts if rating.rating == "exclude" else notes).append(sentence)
    return GroupInput(tuple(rated), participants, labels, tuple(notes), tuple(doubts))


def _rated(
    rows: Iterable[dict[str, str]], ratings: Sequence[Rating]
) -> tuple[list[dict[str, str]], list[str]]:
    """Mark the runs that raters excluded, and collect doubts about the remaining runs."""
    out, doubts = [], []
    for row in rows:
        session = "" if row["session"] == tables.NOT_AVAILABLE else row["session"]
        reasons, doubted = exclude_rated(row["person"], session, ratings)
        if row["status"] == "included" and reasons:
            code, reason = ("; ".join(dict.fromkeys(words)) for words in zip(*reasons, strict=True))
            row = row | {"status": "excluded", "code": code, "reason": reason}  # noqa: PLW2901
        elif row["status"] == "included":
            where = group_tables.participant_id_of(row["person"]) + (
                f", ses-{session}" if session else ""
            )
            doubts += [f"{where} is included in the analysis but was {doubt}." for doubt in doubted]
        out.append(row)
    return out, list(dict.fromkeys(doubts))


def _without_effect(
    rows: Sequence[Mapping[str, str]], ratings: Sequence[Rating]
) -> Iterable[tuple[Rating, str]]:
    """Yield ratings of participants and sessions without measurements, each with a sentence."""
    available = {(row["person"], row["session"]) for row in rows}
    participants = {person for person, _ in available}
    for rating in ratings:
        rated = group_tables.participant_id_of(rating.person)
        if rating.session:
            rated += f", ses-{rating.session}"
        is_measured = (rating.person, rating.session) in available if rating.session else None
        if rating.person not in participants or is_measured is False:
            yield (
                rating,
                f"{rated} was {rating.said()}; there is no such measurement, so that this rating "
                "has no effect.",
            )


def recorded_settings(data_sets: Sequence[DataSet]) -> AnalysisSettings:
    """Return the settings with which the participant level was run.

    Parameters
    ----------
    data_sets : sequence of DataSet
        Data sets of the study.

    Returns
    -------
    AnalysisSettings
        Settings of the measurement, as recorded in the JSON files of the matrices.

    Raises
    ------
    InputError
        If participants were measured with different settings; the message names examples.
    """
    participants: dict[AnalysisSettings, list[str]] = {}
    recorded = AnalysisSettings()
    for label, sidecar in _sidecars(data_sets):
        recorded = AnalysisSettings.from_record(sidecar["Settings"]).measuring()
        participants.setdefault(recorded.by_content(), []).append(label)
    if len(participants) > 1:
        groups = sorted(participants.values(), key=len)
        raise InputError(
            "participants were measured with different settings "
            f"({', '.join(groups[0][:5])} unlike {', '.join(groups[-1][:5])}); run the participant "
            "level again for all participants with the same flags"
        )
    return recorded


def _sidecars(data_sets: Sequence[DataSet]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each participant with a matrix, and the JSON file of the first matrix."""
    for data_set in data_sets:
        for path in sorted(data_set.outputs.glob("sub-*/sub-*_runs.tsv")):
            matrices = [row["relmat"] for row in tables.read_table(path).rows()]
            written = [name for name in matrices if name != tables.NOT_AVAILABLE]
            if written:
                label = data_set.key(path.parent.name.removeprefix("sub-"))
                yield label, tables.read_json((data_set.outputs / written[0]).with_suffix(".json"))


def _other_code(data_sets: Sequence[DataSet]) -> list[str]:
    """Note which participants were measured by other code than the installed code."""
    installed = installed_code()["measuring"]
    other = sorted(
        group_tables.participant_id_of(label)
        for label, sidecar in _sidecars(data_sets)
        if sidecar.get("CodeHash") != installed
    )
    if not other:
        return []
    named = ", ".join(other[:5]) + (" and others" if len(other) > 5 else "")
    return [
        f"{len(other)} participant{' was' if len(other) == 1 else 's were'} measured by another "
        f"version of the measuring code than the one installed ({named}); run the participant "
        "level again to measure all participants by the same version."
    ]


def resolve_study(measurements: GroupInput, stated: StudyFile) -> tuple[Resolution, Observed]:
    """Resolve the design of a study from its study file and the measured data.

    Parameters
    ----------
    measurements : GroupInput
        Results of the participant level, from `read_input`.
    stated : StudyFile
        Content of the study file.

    Returns
    -------
    resolution : Resolution
        The design with the grounds of each decision and differences of the protocol, or the reasons
        why it cannot be resolved, which include copied data.
    observed : Observed
        The facts from which it was resolved.
    """
    sessions: dict[str, list[str]] = {}
    for row in measurements.rows:
        if ":" not in row["person"] and row["session"] != tables.NOT_AVAILABLE:
            sessions.setdefault(row["person"], []).append(row["session"])
    observed = observe(sessions, measurements.participants)
    return add_protocol(resolve(stated, observed), observed, measurements.rows), observed


def run_group(
    data_sets: Sequence[DataSet],
    stated: StudyFile,
    *,
    settings: AnalysisSettings,
    out_dir: Path,
    ratings: Path | None = None,
) -> GroupFiles:
    """Analyse the study and write its tables and verdict, unless valid files exist.

    Parameters
    ----------
    data_sets : sequence of DataSet
        Data sets of the study; the main data set comes first.
    stated : StudyFile
        Content of the study file.
    settings : AnalysisSettings
        Settings of the analysis. The first atlas and the first strategy determine the verdict; the
        other strategies are sensitivity analyses.
    out_dir : Path
        Root of the output data set; files are written to ``group/``.
    ratings : Path, optional
        Folder with rating files (`circuitshift.pipeline.study.ratings`). Default: the folder
        ``ratings`` of `out_dir`.

    Returns
    -------
    GroupFiles
        Paths of the tables and of ``verdict.json``.

    Raises
    ------
    DesignError, InputError
        If the study cannot be analysed as stated, or a rating cannot be read.
    """
    judged = read_ratings(ratings or out_dir / FOLDER)
    files = _paths(out_dir / "group")
    with recorded_digests("group", out_dir) as digests:
        code = code_hash(__name__)
        try:
            made_from = origins_of(
                data_sets, stated, settings, ratings=judged, out_dir=out_dir, digests=digests
            )
        except CircuitshiftError:  # raised again by the analysis, after old results are removed
            made_from = {}
        if made_from and is_current(out_dir / "group", made_from, code, digests):
            return files
        content = _analyse(data_sets, stated, settings, judged=judged, out_dir=out_dir)
        written = group_files(out_dir / "group", digests)
        made = {"code_hash": code, "made_from": made_from, "files": written}
        tables.write_json(files.verdict, content | made)
    return files


def _analyse(
    data_sets: Sequence[DataSet],
    stated: StudyFile,
    settings: AnalysisSettings,
    *,
    judged: Sequence[Rating],
    out_dir: Path,
) -> dict[str, Any]:
    """Analyse the study and write its tables; return the content of verdict.json."""
    plan = plan_of(stated, settings)
    measurements = read_input(data_sets, judged)
    resolution, observed = resolve_study(measurements, stated)
    require(resolution)
    for stale in ("verdict.json", "report.html"):  # a failing run must not leave old results
        (out_dir / "group" / stale).unlink(missing_ok=True)
    selection = recorded_selection(data_sets)
    record = design_record(resolution, observed, selection)
    tables.write_json(out_dir / "group" / DESIGN_FILE, record)
    context, fitted, notes = _study(data_sets, measurements, resolution, settings)
    measurements, atlas = context.measurements, context.atlas
    other_strategies = [s for s in settings.strategies if fitted.strategy not in (s, AS_GIVEN)]
    sensitivity = [(name, *_analyse_or_explain(context, name)) for name in other_strategies]
    excluded = sorted(
        {*_run_exclusions(measurements, fitted.strategy, atlas.name), *fitted.cohort.exclusions}
    )
    files = _paths(out_dir / "group")
    secondary = write_secondary(context, fitted, out_dir / "group")
    group_tables.write_circuits(
        files.circuits,
        fitted.sessions,
        context.members,
        circuits=context.circuits,
        features=context.features,
    )
    group_tables.write_tests(
        files.tests,
        fitted.analysis,
        sensitivity,
        secondary.estimates,
        alpha=fitted.rules.alpha,
    )
    group_tables.write_change(files.change, fitted.cohort, fitted.analysis)
    group_tables.write_exclusions(files.exclusions, excluded, context.members)
    group_tables.write_rows(
        out_dir / "group" / "missing_regions.tsv", missing_rows(fitted.missing), MISSING_COLUMNS
    )
    group_tables.write_edges(
        files.edges,
        fitted.cohort,
        context.features,
        circuits=context.circuits,
        tested=secondary.edges,
        motion=edge_motion(context, fitted),
    )
    content = verdict_content(context, fitted, sensitivity) | {
        "circuits_not_resolved": list(context.skipped),
        "plan": compare_plan(out_dir / "group", plan),
        "decisions": record["decisions"],
        "selection": selection,
        "notes": [
            *measurements.notes,
            *resolution.protocol.get("notes", ()),
            *notes,
            *_other_code(data_sets),
            *fitted.cohort.notes,
            *fitted.analysis.omitted,
            *secondary.remarks,
        ],
        "secondary": secondary.summary,
    }
    return with_titles(content, context.titles())


def fit_study(
    data_sets: Sequence[DataSet], stated: StudyFile, settings: AnalysisSettings
) -> tuple[Context, Fitted]:
    """Read a measured study and fit the model under its primary strategy.

    Ratings are read from the folder ``ratings`` of the outputs.

    Parameters
    ----------
    data_sets : sequence of DataSet
        Data sets of the study; the main data set comes first.
    stated : StudyFile
        Content of the study file.
    settings : AnalysisSettings
        Settings of the analysis; the first strategy is the primary strategy.

    Returns
    -------
    context : Context
        Data, design, atlas and circuits of the study.
    fitted : Fitted
        Analysis under the primary strategy.

    Raises
    ------
    DesignError, InputError
        If the study cannot be analysed as stated.
    """
    measurements = read_input(data_sets, read_ratings(data_sets[0].outputs / FOLDER))
    resolution, _ = resolve_study(measurements, stated)
    return _study(data_sets, measurements, resolution, settings)[:2]


def _study(
    data_sets: Sequence[DataSet],
    measurements: GroupInput,
    resolution: Resolution,
    settings: AnalysisSettings,
) -> tuple[Context, Fitted, list[str]]:
    """Assign the participants, find atlas and circuits, and fit the primary strategy."""
    doubts = (*measurements.doubts, *resolution.warnings)
    measurements = replace(measurements, doubts=doubts)
    members, design, notes = study_members(measurements, require(resolution))
    atlas = _primary_atlas(measurements, data_sets[0].outputs)
    circuits = load_circuits(atlas, design.circuits, files=tuple(map(Path, settings.circuits)))
    if not circuits.circuits:
        raise DesignError(none_located(atlas, circuits))
    _check_directions(design, circuits.circuits)
    features = FeatureSpace.of_edges(atlas.labels, centres_mm=atlas.centres_mm())
    context = Context(
        measurements=measurements,
        members=members,
        design=design,
        atlas=atlas,
        circuits=circuits.circuits,
        settings=settings,
        features=features,
        skipped=tuple(circuits.skipped),
    )
    return context, _fit(context, _primary_strategy(measurements, settings)), notes


def _paths(folder: Path) -> GroupFiles:
    return GroupFiles(
        folder / "verdict.json",
        *(folder / f"{n}.tsv" for n in ("tests", "circuits", "change", "exclusions", "edges")),
    )


def _primary_atlas(measurements: GroupInput, out_dir: Path) -> Atlas:
    """Return the atlas of the first included run."""
    seen = [row["atlas"] for row in measurements.rows if row["status"] == "included"]
    if not seen:
        reasons = sorted({row["reason"] for row in measurements.rows})
        raise InputError(
            f"no run of any participant can be used; the reasons are: {'; '.join(reasons[:5])}"
        )
    return read_atlas(out_dir, seen[0])


def _primary_strategy(measurements: GroupInput, settings: AnalysisSettings) -> str:
    as_given = any(row["strategy"] == AS_GIVEN for row in measurements.rows)
    return AS_GIVEN if as_given else settings.strategies[0]


def _check_directions(design: Design, circuits: Sequence[Circuit]) -> None:
    unknown = sorted({name for name, _ in design.directions} - {c.name for c in circuits})
    if unknown:
        raise DesignError(
            f"a direction is fixed for {', '.join(unknown)}, which is not a circuit of this "
            f"analysis; choose from {', '.join(c.name for c in circuits)} for [hypotheses] "
            "directions of the study file"
        )


def _measured(
    rows: Iterable[Mapping[str, str]], strategy: str, atlas: Atlas
) -> Iterable[pairing.Measured]:
    """Read the matrices of usable runs."""
    for row in rows:
        if row["status"] != "included" or row["strategy"] != strategy or row["atlas"] != atlas.name:
            continue
        path = Path(row["root"]) / row["relmat"]
        labels, matrix = tables.read_matrix(path)
        if labels != atlas.labels:
            raise InputError(
                f"{path}: its regions are not those of atlas {atlas.name}; remove the file and run "
                "the participant level again"
            )
        yield pairing.Measured(
            participant=row["person"],
            session="" if row["session"] == tables.NOT_AVAILABLE else row["session"],
            z=connectivity.fisher_z(connectivity.from_matrix(matrix)),
            weight=_number(row["residual_dof"]),
            minutes=_number(row["minutes"]),
            mean_fd_mm=_number(row["mean_fd_mm"]),
            name=row["run"],
        )


def _number(text: str) -> float:
    return np.nan if text == tables.NOT_AVAILABLE else float(text)


def _check_arms(context: Context, cohort: pairing.Cohort) -> None:
    """Refuse an arm of one participant, and name both, also the others of this arm."""
    labels = dict(context.design.labels)
    for arm in ("treated", "control") if cohort.treated is not None else ():
        (first, *others) = [m.participant for m in cohort.pairs if m.role == arm]
        if others:
            continue
        known = [m.participant for m in context.members if m.role == arm and m.participant != first]
        listed = ", ".join(map(group_tables.participant_id_of, known[:_MAX_LISTED]))
        listed += f" and {len(known) - _MAX_LISTED} more" if len(known) > _MAX_LISTED else ""
        lacking = f"without both visits: {listed or 'no other participant of this arm'}"
        raise DesignError(
            f"only 1 participant of the {arm} arm{f' ({labels[arm]})' if arm in labels else ''} "
            f"has both visits, {group_tables.participant_id_of(first)} ({lacking}); each arm needs "
            "at least two. Check the participant reports for excluded sessions, or the groups of "
            "the study file"
        )


def _fit(context: Context, strategy: str) -> Fitted:
    """Fit the complete model to the matrices of one strategy."""
    design, atlas = context.design, context.atlas
    sessions = pairing.session_means(_measured(context.measurements.rows, strategy, atlas))
    if design.harmonise:
        sessions = harmonised(sessions, context.measurements, context.members, design)
    sessions, missing = match_visits(sessions, context.features, design)
    cohort = pairing.assemble(sessions, context.members, design)
    _check_arms(context, cohort)
    cohort = replace(cohort, notes=(*cohort.notes, *missing_sentence(missing)))
    sessions = pairing.share_memory(sessions, cohort, design)
    global_signal = global_signal_of(strategy, context, (cohort.baseline, cohort.followup))
    visits = model.Visits(
        cohort.baseline,
        cohort.followup,
        context.features,
        treated=cohort.treated,
        reference=cohort.reference if len(cohort.healthy) else None,
        reference_again=cohort.reference_again,
        baseline_only=cohort.baseline_only if len(cohort.lone) else None,
        covariates=cohort.covariates if cohort.covariates.shape[1] else None,
        motion_mm=cohort.motion_mm,
        control_baseline=cohort.control_baseline,
        control_followup=cohort.control_followup,
        factor=cohort.factor,
        symptom=cohort.symptom,
        blocks=cohort.site,
        weights=cohort.weights,
        global_signal_removed=bool(global_signal.removed),
        signal_quality=signal_quality(context, cohort, strategy),
        randomised=design.randomised is not False,
    )
    rules = model.Rules(
        n_permutations=design.n_permutations,
        alpha=design.alpha,
        sesoi=design.sesoi_z,
        sides=dict(design.directions),  # type: ignore[arg-type]
        background=design.background,
        sesoi_d=design.sesoi_d,
        sesoi_gain=design.sesoi_gain,
        sesoi_share=design.sesoi_share,
        sesoi_tau=design.sesoi_tau,
        primary=context.primary(),
        without=_PARTIAL if context.settings.estimator == "partial" else {},
    )
    rng = np.random.default_rng(design.seed)
    networks = [region.network for region in atlas.regions]
    analysis = model.analyse(visits, context.positions(), rng=rng, rules=rules, networks=networks)
    return Fitted(strategy, cohort, sessions, visits, rules, analysis, global_signal, missing)


def _analyse_or_explain(context: Context, strategy: str) -> tuple[model.Analysis | None, str]:
    """Analyse another strategy; return the reason if this sensitivity analysis is not possible."""
    try:
        return _fit(context, strategy).analysis, ""
    except (DesignError, InputError) as error:
        return None, str(error)


def _run_exclusions(
    measurements: GroupInput, strategy: str, atlas: str
) -> Iterable[pairing.Exclusion]:
    """Yield runs that do not enter the primary analysis."""
    for row in measurements.rows:
        other = row["strategy"] not in (strategy, tables.NOT_AVAILABLE) or row["atlas"] not in (
            atlas,
            tables.NOT_AVAILABLE,
        )
        if row["status"] in ("included", "combined") or other:
            continue
        session = "" if row["session"] == tables.NOT_AVAILABLE else row["session"]
        yield pairing.Exclusion(
            row["person"], session, "participant", row["code"], f"{row['run']}: {row['reason']}"
        )
