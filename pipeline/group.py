"""The study: everybody's edge matrices -> tests, verdict and tables, as files.

The file-level shell around `change`, `study` and `quality`. It starts from files only, so that it
can be run again, audited, and fed by other software.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas, Circuit
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline import (
    change,
    connectivity,
    group_tables,
    measure,
    quality,
    study,
    tables,
)
from circuitshift.pipeline.atlas_files import read_atlas
from circuitshift.pipeline.denoise import get_strategy, load_strategies
from circuitshift.pipeline.design import Observed, StudyFile, infer_design
from circuitshift.pipeline.displacement import identifiability
from circuitshift.pipeline.errors import DesignError, InputError
from circuitshift.pipeline.people import People, read_people
from circuitshift.pipeline.provenance import code_hash, versions
from circuitshift.pipeline.records import Design, Science

__all__ = [
    "DataSet",
    "GroupFiles",
    "GroupInput",
    "read_input",
    "recorded_science",
    "run_group",
    "state_design",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set at the group level.

    Parameters
    ----------
    outputs : Path
        Where its measurements are: folders ``sub-X`` with ``sub-X_runs.tsv``.
    people : Path
        Folder with participants.tsv: the input data set.
    name : str
        Empty for the main one.
    """

    outputs: Path
    people: Path
    name: str = ""

    def key(self, label: str) -> str:
        """Return the unique key of a person over data sets."""
        return f"{self.name}:{label}" if self.name else label


class GroupFiles(NamedTuple):
    """What `run_group` makes."""

    verdict: Path
    tests: Path
    circuits: Path
    change: Path
    exclusions: Path
    edges: Path


@dataclass(frozen=True, slots=True, eq=False)
class GroupInput:
    """Everything that was measured, before anything is chosen.

    Parameters
    ----------
    rows : tuple of dict
        Rows of every ``sub-X_runs.tsv``, with ``person`` and ``root``.
    people : mapping of str to People
        By data set name.
    labels : mapping of str to tuple of str
        Everybody, by data set name: participants.tsv and measured people together.
    notes : tuple of str
    """

    rows: tuple[dict[str, str], ...]
    people: Mapping[str, People]
    labels: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def read_input(data_sets: Sequence[DataSet]) -> GroupInput:
    """Read what the participant level left, for every data set.

    Parameters
    ----------
    data_sets : sequence of DataSet
        The main one first.

    Returns
    -------
    GroupInput

    Raises
    ------
    InputError
        If nothing was measured.
    """
    rows: list[dict[str, str]] = []
    people: dict[str, People] = {}
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
        found = read_people(data_set.people)
        notes += [*found.notes, *map(str, found.faults)]
        people[data_set.name] = found
        labels[data_set.name] = tuple(sorted({*found.labels, *measured}))
    return GroupInput(tuple(rows), people, labels, tuple(notes))


def recorded_science(data_sets: Sequence[DataSet]) -> Science:
    """Return the settings that the participant level was run with.

    Parameters
    ----------
    data_sets : sequence of DataSet

    Returns
    -------
    Science

    Raises
    ------
    InputError
        If people were measured with different settings, or with other code; says who.
    """
    people: dict[Science, list[str]] = {}
    for data_set in data_sets:
        for path in sorted(data_set.outputs.glob("sub-*/sub-*_runs.tsv")):
            matrices = [row["relmat"] for row in tables.read_table(path).rows()]
            written = [name for name in matrices if name != tables.NOT_AVAILABLE]
            if written:
                sidecar = (data_set.outputs / written[0]).with_suffix(".json")
                found = Science.from_record(tables.read_json(sidecar)["Science"]).measuring()
                label = data_set.key(path.parent.name.removeprefix("sub-"))
                people.setdefault(found, []).append(label)
    if len(people) > 1:
        groups = sorted(people.values(), key=len)
        raise InputError(
            "people were measured with different settings "
            f"({', '.join(groups[0][:5])} unlike {', '.join(groups[-1][:5])}); run the participant "
            "level again for all, with the same flags"
        )
    return next(iter(people), Science())


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
    main = given.people[""]
    columns = {
        name: dict(zip(main.labels, values, strict=True)) for name, values in main.columns.items()
    }
    column = dict(stated.stated).get("group_column", "group")
    others = {
        name: sorted(set(found.columns.get(column, ())) - {tables.NOT_AVAILABLE})
        for name, found in given.people.items()
        if name
    }
    return infer_design(stated, Observed(sessions, columns, others, tuple(main.visits)))


def run_group(
    data_sets: Sequence[DataSet], stated: StudyFile, *, science: Science, out_dir: Path
) -> GroupFiles:
    """Analyse the study and write its tables and verdict.

    Parameters
    ----------
    data_sets : sequence of DataSet
        The main one first.
    stated : StudyFile
    science : Science
        Its first atlas and first strategy give the verdict, the other strategies its sensitivity.
    out_dir : Path
        Root of the output data set; files go to ``group/``.

    Returns
    -------
    GroupFiles

    Raises
    ------
    DesignError, InputError
        If the study cannot be analysed as stated.
    """
    given = read_input(data_sets)
    design = state_design(given, stated)
    members, design, notes = _members(given, design)
    atlas = _primary_atlas(given, out_dir)
    circuits = load_circuits(atlas, design.circuits, files=tuple(map(Path, science.circuits)))
    if not circuits.circuits:
        raise DesignError(
            f"no circuit can be found on atlas {atlas.name}: {' '.join(circuits.skipped[:3])} Give "
            "the atlas with its networks by --atlas, or circuits by --circuits"
        )
    _check_directions(design, circuits.circuits)
    primary = _primary_strategy(given, science)
    context = _Context(given, members, design, atlas, circuits.circuits, science)
    cohort, analysis, sessions = _analyse(context, primary)
    twins = [s for s in science.strategies if primary not in (s, measure.AS_GIVEN)]
    sensitivity = [(name, *_analyse_or_say(context, name)) for name in twins]
    exclusions = sorted({*_run_exclusions(given, primary, atlas.name), *cohort.exclusions})
    files = _paths(out_dir / "group")
    group_tables.write_circuits(files.circuits, sessions, members, circuits.circuits)
    group_tables.write_tests(files.tests, analysis, sensitivity)
    group_tables.write_change(files.change, cohort, analysis)
    group_tables.write_exclusions(files.exclusions, exclusions)
    group_tables.write_edges(files.edges, cohort, atlas, circuits.circuits)
    content = _verdict_content(context, cohort, analysis) | {
        "circuits_not_resolved": list(circuits.skipped),
        "notes": [*given.notes, *notes, *cohort.notes],
        "sensitivity": [_sensitivity_row(*twin, science) for twin in sensitivity],
        "exclusion_by_arm": _exclusion_by_arm(members, cohort),
        "strategy": primary,
        "science": asdict(science),
        "science_hash": science.digest(),
    }
    tables.write_json(files.verdict, content)
    return files


def _paths(folder: Path) -> GroupFiles:
    return GroupFiles(
        folder / "verdict.json",
        *(folder / f"{n}.tsv" for n in ("tests", "circuits", "change", "exclusions", "edges")),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Context:
    """What every analysis of one study shares."""

    given: GroupInput
    members: tuple[change.Member, ...]
    design: Design
    atlas: Atlas
    circuits: tuple[Circuit, ...]
    science: Science

    def positions(self) -> dict[str, npt.NDArray[np.intp]]:
        """Edge positions of each circuit."""
        return {c.name: c.edges(len(self.atlas.regions)) for c in self.circuits}


def _members(
    given: GroupInput, design: Design
) -> tuple[tuple[change.Member, ...], Design, list[str]]:
    """Give everybody a role; code words among the covariates as indicators."""
    main = given.people[""]
    coded, notes = _code_covariates(main, design.covariates)
    members: list[change.Member] = []
    asked = _asked(main, design)
    for name, labels in given.labels.items():
        groups = _column(given.people[name], design.group_column)
        for label in labels:
            group = groups.get(label, tables.NOT_AVAILABLE)
            key = f"{name}:{label}" if name else label
            values = tuple(column.get(label, np.nan) for column in coded.values())
            role = _role(group, name, design)
            more = {} if name else {"covariates": values} | asked.get(label, {})
            members.append(change.Member(key, group, role, **more))
    return tuple(members), replace(design, covariates=tuple(coded)), notes


def _asked(people: People, design: Design) -> dict[str, dict[str, Any]]:
    """Return level of the factor, change of the score, and site, by person."""
    factor = _column(people, design.factor)
    without, with_ = design.factor_levels if design.factor else ("", "")
    scores = people.scores(design.symptom) if design.symptom else {}
    sites = people.visits.get(design.site, {})
    fixed = {} if sites else _column(people, design.site)
    visits = (design.baseline, design.followup)
    out: dict[str, dict[str, Any]] = {}
    for label in people.labels:
        at = [sites.get((label, session), fixed.get(label, "")) for session in visits]
        level = factor.get(label, "")
        before, after = (scores.get((label, session), np.nan) for session in visits)
        out[label] = {
            "factor": level == with_ if design.factor and level in (without, with_) else None,
            "symptom": after - before,
            "site": at[0] if at[0] == at[1] else f"{at[0]} to {at[1]}",
        }
    return out


def _column(people: People, name: str) -> dict[str, str]:
    return dict(zip(people.labels, people.columns.get(name, ()), strict=False)) if name else {}


def _role(group: str, data_set: str, design: Design) -> change.Role:
    if data_set != design.reference_dataset and data_set:
        return "none"
    if data_set:
        return "reference" if not design.reference or group in design.reference else "none"
    if not design.treated:
        return "treated"
    if group in design.treated:
        return "treated"
    if group in design.control:
        return "control"
    own = not design.reference_dataset and group in design.reference
    return "reference" if own else "none"


def _code_covariates(
    people: People, names: Sequence[str]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Keep numbers; code words as one indicator for each but the first (treatment coding)."""
    out: dict[str, dict[str, float]] = {}
    notes = []
    for name in names:
        words = _column(people, name)
        try:
            values = people.numbers(name)
            out[name] = dict(zip(people.labels, map(float, values), strict=True))
        except InputError:
            levels = sorted(set(words.values()) - {tables.NOT_AVAILABLE})
            for level in levels[1:]:
                out[f"{name}: {level}"] = {
                    label: np.nan if word == tables.NOT_AVAILABLE else float(word == level)
                    for label, word in words.items()
                }
            notes.append(f"Covariate {name} is coded as indicators against {levels[0]}.")
    return out, notes


def _primary_atlas(given: GroupInput, out_dir: Path) -> Atlas:
    """Find the atlas that the measurements share, the first of the first person who has one."""
    seen = [row["atlas"] for row in given.rows if row["status"] == "included"]
    if not seen:
        reasons = sorted({row["reason"] for row in given.rows})
        raise InputError(
            f"no run of anybody can be used; the reasons are: {'; '.join(reasons[:5])}"
        )
    return read_atlas(out_dir, seen[0])


def _primary_strategy(given: GroupInput, science: Science) -> str:
    as_given = any(row["strategy"] == measure.AS_GIVEN for row in given.rows)
    return measure.AS_GIVEN if as_given else science.strategies[0]


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
            person=row["person"],
            session="" if row["session"] == tables.NOT_AVAILABLE else row["session"],
            z=connectivity.fisher_z(connectivity.from_matrix(matrix)),
            weight=_number(row["residual_dof"]),
            minutes=_number(row["minutes"]),
            mean_fd_mm=_number(row["mean_fd_mm"]),
            name=row["run"],
        )


def _number(text: str) -> float:
    return np.nan if text == tables.NOT_AVAILABLE else float(text)


def _analyse(
    context: _Context, strategy: str
) -> tuple[change.Cohort, study.Analysis, group_tables.Sessions]:
    """Run the whole model on the matrices of one strategy."""
    design, atlas = context.design, context.atlas
    sessions = change.session_means(_measured(context.given.rows, strategy, atlas))
    cohort = change.assemble(sessions, context.members, design)
    centres = atlas.centres_mm()
    visits = study.Visits(
        cohort.baseline,
        cohort.followup,
        treated=cohort.treated,
        reference=cohort.reference if len(cohort.healthy) else None,
        baseline_only=cohort.baseline_only if len(cohort.lone) else None,
        distance=connectivity.distances(centres) if np.isfinite(centres).all() else None,
        covariates=cohort.covariates if cohort.covariates.shape[1] else None,
        motion_mm=cohort.motion_mm,
        control_baseline=cohort.control_baseline,
        control_followup=cohort.control_followup,
        factor=cohort.factor,
        symptom=cohort.symptom,
        blocks=cohort.site,
        global_signal_removed=_is_gsr(strategy, context.science),
    )
    rules = study.Rules(
        n_permutations=design.n_permutations,
        alpha=design.alpha,
        sesoi_z=design.sesoi_z,
        sides=dict(design.directions),  # type: ignore[arg-type]
        background=design.background,
    )
    rng = np.random.default_rng(design.seed)
    analysis = study.analyse(visits, context.positions(), rng=rng, rules=rules)
    return cohort, analysis, sessions


def _is_gsr(strategy: str, science: Science) -> bool:
    if strategy == measure.AS_GIVEN:
        return False
    known = load_strategies(tuple(map(Path, science.strategy_files)))
    return get_strategy(strategy, known).gsr


def _analyse_or_say(context: _Context, strategy: str) -> tuple[study.Analysis | None, str]:
    """Analyse a twin for sensitivity; a twin that cannot be analysed must not stop the study."""
    try:
        return _analyse(context, strategy)[1], ""
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


def _sensitivity_row(
    name: str, found: study.Analysis | None, said: str, science: Science
) -> dict[str, object]:
    if found is None:
        return {"strategy": name, "verdict": None, "reason": said}
    return {
        "strategy": name,
        "global_signal_removed": _is_gsr(name, science),
        "verdict": found.verdict.verdict,
        "reason": found.verdict.reason,
    }


def _rows(analysis: study.Analysis, family: str) -> dict[str, dict[str, Any]]:
    names = (
        "estimate",
        "unit",
        "ci_low",
        "ci_high",
        "p",
        "p_corrected",
        "bound",
        "equivalence_p",
        "bf10",
    )
    return {
        e.term: {name: getattr(e, name) for name in names}
        for e in analysis.estimates
        if e.family == family
    }


def _verdict_content(
    context: _Context, cohort: change.Cohort, analysis: study.Analysis
) -> dict[str, object]:
    verdict, deviation = analysis.verdict, analysis.deviation
    roles = [m.role for m in cohort.pairs]
    warnings = list(verdict.warnings)
    excluded = _exclusion_by_arm(context.members, cohort)
    if excluded["p"] is not None and excluded["p"] < 0.05:
        warnings.append(
            "People were lost more often from one arm than from the other (Fisher's exact p = "
            f"{excluded['p']:.3f}): the arms may no longer be comparable."
        )
    about = {c.name: (c.title, c.direction, c.why, c.reference) for c in context.circuits}
    specific = _rows(analysis, "specific")
    for name, row in specific.items():
        row |= dict(zip(("title", "predicted", "why", "reference"), about[name], strict=True))
    return {
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "reason": verdict.reason,
        "warnings": warnings,
        "global": _rows(analysis, "global"),
        "circuits": specific,
        "n": {
            "treated": roles.count("treated"),
            "control": roles.count("control"),
            "reference": len(cohort.healthy),
            "baseline_only": len(cohort.lone),
            "known": len(context.members),
        },
        "deviation": asdict(deviation),
        "further": _further(analysis),
        "size_of_change": _rows(analysis, "size of change"),
        "identifiability": _identifiability(cohort),
        "quality": _motion_confound(cohort),
        "design": asdict(context.design),
        "atlas": context.atlas.name,
        "n_regions": len(context.atlas.regions),
        "seed": context.design.seed,
        "code_hash": code_hash(),
        "versions": versions(),
    }


def _further(analysis: study.Analysis) -> dict[str, dict[str, object]]:
    """Collect what was asked beside the question of the verdict: factor, interaction, symptom."""
    families = sorted({e.family for e in analysis.estimates if e.family.endswith(": global")})
    names = [family.removesuffix(": global") for family in families]
    return {
        name: {
            "global": _rows(analysis, f"{name}: global"),
            "circuits": _rows(analysis, f"{name}: specific"),
        }
        for name in names
    }


def _exclusion_by_arm(members: Sequence[change.Member], cohort: change.Cohort) -> dict[str, Any]:
    """Count who was analysed and who was lost in each arm, and compare."""
    used = {m.person for m in cohort.pairs}
    counts: dict[str, tuple[int, int]] = {}
    for arm in ("treated", "control"):
        there = [m.person for m in members if m.role == arm]
        if there:
            kept = len(used & set(there))
            counts[arm] = (kept, len(there) - kept)
    p = quality.compare_exclusion(counts) if len(counts) == 2 else None
    return {"analysed_and_lost": counts, "p": p}


def _identifiability(cohort: change.Cohort) -> dict[str, dict[str, float]]:
    """Say for each arm how well people are recognised from one visit to the next."""
    roles = np.array([member.role for member in cohort.pairs])
    return {
        arm: identifiability(cohort.baseline[roles == arm], cohort.followup[roles == arm])
        for arm in ("treated", "control")
        if (roles == arm).any()
    }


def _motion_confound(cohort: change.Cohort) -> dict[str, object]:
    """Relate change of edges to change of motion over people (QC-FC on change)."""
    if cohort.motion_mm is None:
        return {}
    return dict(quality.qcfc(cohort.followup - cohort.baseline, cohort.motion_mm))
