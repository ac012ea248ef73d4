"""The study: everybody's edge matrices -> tests, verdict and tables, as files.

The file-level shell around `change`, `study` and `quality`. It starts from files only, so that it
can be run again, audited, and fed by other software.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from circuitshift.atlases.records import Atlas, Circuit
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.bids.participants import ParticipantTable, read_participants
from circuitshift.pipeline.errors import CircuitshiftError, DesignError, InputError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import recorded_digests
from circuitshift.pipeline.io.provenance import code_hash
from circuitshift.pipeline.measure.atlas_files import read_atlas
from circuitshift.pipeline.model import analyse as study
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings
from circuitshift.pipeline.study import pairing as change
from circuitshift.pipeline.study import tables as group_tables
from circuitshift.pipeline.study.members import DataSet, GroupInput, harmonised, study_members
from circuitshift.pipeline.study.preregistration import compare_plan, installed_code, plan_of
from circuitshift.pipeline.study.quality import exclude_rated
from circuitshift.pipeline.study.ratings import FOLDER, Rating, read_ratings
from circuitshift.pipeline.study.secondary_tables import write_secondary
from circuitshift.pipeline.study.study_file import Design, Observed, StudyFile, infer_design
from circuitshift.pipeline.study.validity import group_files, is_current, origins_of
from circuitshift.pipeline.study.verdict_file import (
    Context,
    Fitted,
    edge_motion,
    is_gsr,
    verdict_content,
)

__all__ = [
    "DataSet",
    "GroupFiles",
    "fit_study",
    "read_input",
    "recorded_settings",
    "run_group",
    "state_design",
]


class GroupFiles(NamedTuple):
    """What `run_group` makes."""

    verdict: Path
    tests: Path
    circuits: Path
    change: Path
    exclusions: Path
    edges: Path


def read_input(data_sets: Sequence[DataSet], ratings: Sequence[Rating] = ()) -> GroupInput:
    """Read what the participant level left, for every data set.

    Parameters
    ----------
    data_sets : sequence of DataSet
        The main one first.
    ratings : sequence of Rating
        What was rated ``exclude`` becomes an excluded row, what was rated ``doubt`` a warning.

    Returns
    -------
    GroupInput

    Raises
    ------
    InputError
        If nothing was measured.
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
            more = {"person": data_set.key(label), "root": str(data_set.outputs)}
            rows += [row | more for row in tables.read_table(path).rows()]
        if not measured:
            raise InputError(
                f"{data_set.outputs} holds no measured people (sub-*/sub-*_runs.tsv); run the "
                "participant level first"
            )
        found = read_participants(data_set.participants)
        notes += [*found.notes, *map(str, found.problems)]
        participants[data_set.name] = found
        labels[data_set.name] = tuple(sorted({*found.labels, *measured}))
    rated, doubts = _rated(rows, ratings)
    for rating, said in _without_effect(rows, ratings):
        (doubts if rating.rating == "exclude" else notes).append(said)
    return GroupInput(tuple(rated), participants, labels, tuple(notes), tuple(doubts))


def _rated(
    rows: Iterable[dict[str, str]], ratings: Sequence[Rating]
) -> tuple[list[dict[str, str]], list[str]]:
    """Exclude what raters excluded; collect their doubts about what stays."""
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
            doubts += [f"{where} is in the analysis, but {said}." for said in doubted]
        out.append(row)
    return out, list(dict.fromkeys(doubts))


def _without_effect(
    rows: Sequence[Mapping[str, str]], ratings: Sequence[Rating]
) -> Iterable[tuple[Rating, str]]:
    """Name ratings of people and sessions that are not there, so that none is lost in silence."""
    available = {(row["person"], row["session"]) for row in rows}
    participants = {person for person, _ in available}
    for rating in ratings:
        what = group_tables.participant_id_of(rating.person)
        if rating.session:
            what += f", ses-{rating.session}"
        there = (rating.person, rating.session) in available if rating.session else None
        if rating.person not in participants or there is False:
            said = f"{what} was {rating.said()}; it was not measured, so this changes nothing."
            yield rating, said


def recorded_settings(data_sets: Sequence[DataSet]) -> AnalysisSettings:
    """Return the settings that the participant level was run with.

    Parameters
    ----------
    data_sets : sequence of DataSet

    Returns
    -------
    AnalysisSettings

    Raises
    ------
    InputError
        If people were measured with different settings; says who.
    """
    participants: dict[AnalysisSettings, list[str]] = {}
    recorded = AnalysisSettings()
    for label, sidecar in _sidecars(data_sets):
        recorded = AnalysisSettings.from_record(sidecar["Settings"]).measuring()
        participants.setdefault(recorded.by_content(), []).append(label)
    if len(participants) > 1:
        groups = sorted(participants.values(), key=len)
        raise InputError(
            "people were measured with different settings "
            f"({', '.join(groups[0][:5])} unlike {', '.join(groups[-1][:5])}); run the participant "
            "level again for all, with the same flags"
        )
    return recorded


def _sidecars(data_sets: Sequence[DataSet]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield everybody who has a matrix, and what is written beside the first of them."""
    for data_set in data_sets:
        for path in sorted(data_set.outputs.glob("sub-*/sub-*_runs.tsv")):
            matrices = [row["relmat"] for row in tables.read_table(path).rows()]
            written = [name for name in matrices if name != tables.NOT_AVAILABLE]
            if written:
                label = data_set.key(path.parent.name.removeprefix("sub-"))
                yield label, tables.read_json((data_set.outputs / written[0]).with_suffix(".json"))


def _other_code(data_sets: Sequence[DataSet]) -> list[str]:
    """Say who was measured by other code than that installed: numbers may not compare."""
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
        f"{len(other)} {'person was' if len(other) == 1 else 'people were'} measured by another "
        f"version of the measuring code than the one installed ({named}); run the participant "
        "level again to measure all by one version."
    ]


def state_design(given: GroupInput, stated: StudyFile) -> Design:
    """Complete the study file from what was measured.

    Parameters
    ----------
    given : GroupInput
    stated : StudyFile

    Returns
    -------
    Design
    """
    sessions: dict[str, list[str]] = {}
    for row in given.rows:
        if ":" not in row["person"] and row["session"] != tables.NOT_AVAILABLE:
            sessions.setdefault(row["person"], []).append(row["session"])
    main = given.participants[""]
    columns = {
        name: dict(zip(main.labels, values, strict=True)) for name, values in main.columns.items()
    }
    column = dict(stated.stated).get("group_column", "group")
    others = {
        name: sorted(set(found.columns.get(column, ())) - {tables.NOT_AVAILABLE})
        for name, found in given.participants.items()
        if name
    }
    return infer_design(stated, Observed(sessions, columns, others, tuple(main.visits)))


def run_group(
    data_sets: Sequence[DataSet],
    stated: StudyFile,
    *,
    settings: AnalysisSettings,
    out_dir: Path,
    ratings: Path | None = None,
) -> GroupFiles:
    """Analyse the study and write its tables and verdict, unless they are there and still valid.

    Parameters
    ----------
    data_sets : sequence of DataSet
        The main one first.
    stated : StudyFile
    settings : AnalysisSettings
        Its first atlas and first strategy give the verdict, the other strategies its sensitivity.
    out_dir : Path
        Root of the output data set; files go to ``group/``.
    ratings : Path, optional
        Folder of rating files (`circuitshift.pipeline.study.ratings`); ``ratings`` of `out_dir` if
        left out.

    Returns
    -------
    GroupFiles

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
        except CircuitshiftError:  # raised again by the analysis, when old answers are removed
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
    for stale in ("verdict.json", "report.html"):  # a run that fails must not leave an old answer
        (out_dir / "group" / stale).unlink(missing_ok=True)
    plan = plan_of(stated, settings)
    context, fitted, notes = _study(data_sets, stated, settings, judged)
    given, atlas = context.given, context.atlas
    twins = [s for s in settings.strategies if fitted.strategy not in (s, AS_GIVEN)]
    sensitivity = [(name, *_analyse_or_explain(context, name)) for name in twins]
    excluded = sorted(
        {*_run_exclusions(given, fitted.strategy, atlas.name), *fitted.cohort.exclusions}
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
    group_tables.write_edges(
        files.edges,
        fitted.cohort,
        context.features,
        circuits=context.circuits,
        tested=secondary.edges,
        motion=edge_motion(context, fitted),
    )
    return verdict_content(context, fitted, sensitivity) | {
        "circuits_not_resolved": list(context.skipped),
        "plan": compare_plan(out_dir / "group", plan),
        "notes": [
            *given.notes,
            *notes,
            *_other_code(data_sets),
            *fitted.cohort.notes,
            *fitted.analysis.omitted,
            *secondary.remarks,
        ],
        "secondary": secondary.summary,
    }


def fit_study(
    data_sets: Sequence[DataSet], stated: StudyFile, settings: AnalysisSettings
) -> tuple[Context, Fitted]:
    """Read a measured study and fit the model under its primary strategy.

    Ratings are those in ``ratings`` of the outputs.

    Parameters
    ----------
    data_sets : sequence of DataSet
    stated : StudyFile
    settings : AnalysisSettings

    Returns
    -------
    context : Context
    fitted : Fitted

    Raises
    ------
    DesignError, InputError
        If the study cannot be analysed as stated.
    """
    ratings = read_ratings(data_sets[0].outputs / FOLDER)
    return _study(data_sets, stated, settings, ratings)[:2]


def _study(
    data_sets: Sequence[DataSet],
    stated: StudyFile,
    settings: AnalysisSettings,
    ratings: Sequence[Rating] = (),
) -> tuple[Context, Fitted, list[str]]:
    given = read_input(data_sets, ratings)
    design = state_design(given, stated)
    members, design, notes = study_members(given, design)
    atlas = _primary_atlas(given, data_sets[0].outputs)
    circuits = load_circuits(atlas, design.circuits, files=tuple(map(Path, settings.circuits)))
    if not circuits.circuits:
        raise DesignError(
            f"no circuit can be found on atlas {atlas.name}: {' '.join(circuits.skipped[:3])} Give "
            "the atlas with its networks by --atlas, or circuits by --circuits"
        )
    _check_directions(design, circuits.circuits)
    features = FeatureSpace.of_edges(atlas.labels, centres_mm=atlas.centres_mm())
    context = Context(
        given=given,
        members=members,
        design=design,
        atlas=atlas,
        circuits=circuits.circuits,
        settings=settings,
        features=features,
        skipped=tuple(circuits.skipped),
    )
    return context, _fit(context, _primary_strategy(given, settings)), notes


def _paths(folder: Path) -> GroupFiles:
    return GroupFiles(
        folder / "verdict.json",
        *(folder / f"{n}.tsv" for n in ("tests", "circuits", "change", "exclusions", "edges")),
    )


def _primary_atlas(given: GroupInput, out_dir: Path) -> Atlas:
    """Find the atlas that the measurements share, the first of the first person who has one."""
    seen = [row["atlas"] for row in given.rows if row["status"] == "included"]
    if not seen:
        reasons = sorted({row["reason"] for row in given.rows})
        raise InputError(
            f"no run of anybody can be used; the reasons are: {'; '.join(reasons[:5])}"
        )
    return read_atlas(out_dir, seen[0])


def _primary_strategy(given: GroupInput, settings: AnalysisSettings) -> str:
    as_given = any(row["strategy"] == AS_GIVEN for row in given.rows)
    return AS_GIVEN if as_given else settings.strategies[0]


def _check_directions(design: Design, circuits: Sequence[Circuit]) -> None:
    unknown = sorted({name for name, _ in design.directions} - {c.name for c in circuits})
    if unknown:
        raise DesignError(
            f"a direction is fixed for {', '.join(unknown)}, which is no circuit of this analysis; "
            f"its circuits are {', '.join(c.name for c in circuits)}"
        )


def _measured(
    rows: Iterable[Mapping[str, str]], strategy: str, atlas: Atlas
) -> Iterable[change.Measured]:
    """Read the matrices of usable runs."""
    for row in rows:
        if row["status"] != "included" or row["strategy"] != strategy or row["atlas"] != atlas.name:
            continue
        path = Path(row["root"]) / row["relmat"]
        labels, matrix = tables.read_matrix(path)
        if labels != atlas.labels:
            raise InputError(
                f"{path}: its regions are not those of atlas {atlas.name}; measure it again"
            )
        yield change.Measured(
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


def _fit(context: Context, strategy: str) -> Fitted:
    """Run the whole model on the matrices of one strategy."""
    design, atlas = context.design, context.atlas
    sessions = change.session_means(_measured(context.given.rows, strategy, atlas))
    if design.harmonise:
        sessions = harmonised(sessions, context.given, context.members, design)
    cohort = change.assemble(sessions, context.members, design)
    sessions = change.share_memory(sessions, cohort, design)
    visits = study.Visits(
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
        global_signal_removed=is_gsr(strategy, context.settings),
    )
    rules = study.Rules(
        n_permutations=design.n_permutations,
        alpha=design.alpha,
        sesoi=design.sesoi_z,
        sides=dict(design.directions),  # type: ignore[arg-type]
        background=design.background,
    )
    rng = np.random.default_rng(design.seed)
    analysis = study.analyse(visits, context.positions(), rng=rng, rules=rules)
    return Fitted(strategy, cohort, sessions, visits, rules, analysis)


def _analyse_or_explain(context: Context, strategy: str) -> tuple[study.Analysis | None, str]:
    """Analyse a twin for sensitivity; a twin that cannot be analysed must not stop the study."""
    try:
        return _fit(context, strategy).analysis, ""
    except (DesignError, InputError) as error:
        return None, str(error)


def _run_exclusions(given: GroupInput, strategy: str, atlas: str) -> Iterable[change.Exclusion]:
    """Yield runs that do not enter the primary analysis."""
    for row in given.rows:
        other = row["strategy"] not in (strategy, tables.NOT_AVAILABLE) or row["atlas"] not in (
            atlas,
            tables.NOT_AVAILABLE,
        )
        if row["status"] == "included" or other:
            continue
        session = "" if row["session"] == tables.NOT_AVAILABLE else row["session"]
        yield change.Exclusion(
            row["person"], session, "participant", row["code"], f"{row['run']}: {row['reason']}"
        )
