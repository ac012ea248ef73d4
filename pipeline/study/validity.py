"""Decide whether the outputs of the group level are still valid or must be computed again.

``verdict.json`` contains a hash of each input of the group level, and the digest of each table that
was written together with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuitshift.atlases.atomic_files import complete_files
from circuitshift.pipeline.bids.participants import read_participants
from circuitshift.pipeline.errors import InputError, TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests
from circuitshift.pipeline.io.provenance import hash_of
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.members import DataSet, recorded_selection
from circuitshift.pipeline.study.preregistration import installed_code
from circuitshift.pipeline.study.ratings import Rating
from circuitshift.pipeline.study.study_file import StudyFile

__all__ = ["group_files", "is_current", "origins_of", "ratings_hash", "results_hash"]

_NOT_OURS = ("verdict.json", "plan.json")


def origins_of(
    data_sets: Sequence[DataSet],
    stated: StudyFile,
    settings: AnalysisSettings,
    *,
    ratings: Sequence[Rating],
    out_dir: Path,
    digests: Digests,
) -> dict[str, str]:
    """Hash all inputs of the group level, except its own code.

    Parameters
    ----------
    data_sets : sequence of DataSet
        Data sets of the study; the main data set comes first.
    stated : StudyFile
        Content of the study file.
    settings : AnalysisSettings
        Settings of the analysis.
    ratings : sequence of Rating
        Decisions of raters.
    out_dir : Path
        Root of the output data set.
    digests : Digests
        Digests of files, which are computed once per file.

    Returns
    -------
    dict of str to str
        Hash by input.
    """
    scans = [path for d in data_sets for path in sorted(d.participants.glob("**/*_scans.tsv"))]
    found = (sorted(d.participants.glob("**/*_physio.*")) for d in data_sets)
    recordings = [path for paths in found for path in paths]
    by_name = tuple(Path(file).name for file in settings.circuits)
    files = [Path(file) for file in (*settings.circuits, *settings.strategy_files)]
    plan = out_dir / "group" / "plan.json"
    return {
        "results": results_hash(data_sets, digests),
        "participants": hash_of([_participants_of(d) for d in data_sets]),
        "dates": hash_of([_digest(path, digests) for path in scans]),
        "recordings": hash_of([_digest(path, digests) for path in recordings]),
        "selection": hash_of(recorded_selection(data_sets)),
        "ratings": ratings_hash(ratings),
        "study file": hash_of(stated.stated),
        "settings": replace(settings.by_content(), circuits=by_name).digest(),
        "files": hash_of([tables.read_text(file) for file in files]),
        "measuring code": installed_code()["measuring"],
        "plan": hash_of(tables.read_text(plan) if plan.exists() else None),
    }


def _participants_of(data_set: DataSet) -> object:
    """Return the content of all tables of participants, without their location."""
    table = read_participants(data_set.participants, data_set.table)
    return (
        table.labels,
        table.columns,
        table.visits,
        table.problems,
        table.notes,
        table.levels,
        table.refusals,
        table.doubtful,
        table.doubtful_scores,
    )


def results_hash(data_sets: Sequence[DataSet], digests: Digests) -> str:
    """Hash the results of the participant level: tables of runs, matrices and regions of atlases.

    Parameters
    ----------
    data_sets : sequence of DataSet
        Data sets of the study.
    digests : Digests
        Digests of files.

    Returns
    -------
    str
        Hash of the names and contents of all files.
    """
    contents: list[tuple[str, str, str]] = []
    for data_set in data_sets:
        root = data_set.outputs
        runs = sorted(root.glob("sub-*/sub-*_runs.tsv"))
        files = [*runs, *complete_files((root / "sourcedata" / "atlases").glob("*"))]
        for path in runs:
            try:
                matrices = set(tables.read_table(path).column("relmat")) - {tables.NOT_AVAILABLE}
            except TableError:  # reported where the table is read
                continue
            files += [root / name for name in sorted(matrices)]
            files += [(root / name).with_suffix(".json") for name in sorted(matrices)]
        contents += [
            (data_set.name, path.relative_to(root).as_posix(), _digest(path, digests))
            for path in files
        ]
    return hash_of(contents)


def ratings_hash(ratings: Sequence[Rating]) -> str:
    """Hash the decisions of raters.

    Parameters
    ----------
    ratings : sequence of Rating
        Decisions, from `circuitshift.pipeline.study.ratings.read_ratings`.

    Returns
    -------
    str
        Hash of all decisions.
    """
    return hash_of(tuple(ratings))


def _digest(path: Path, digests: Digests) -> str:
    """Return the digest of a file; empty if it cannot be read, which is reported elsewhere."""
    try:
        return digests.of(path)
    except (OSError, InputError):
        return ""


def group_files(folder: Path, digests: Digests) -> dict[str, str]:
    """Return the digests of all tables of the group level and of their descriptions.

    Parameters
    ----------
    folder : Path
        Folder ``group/`` of the output data set.
    digests : Digests
        Digests of files.

    Returns
    -------
    dict of str to str
        Digest by file name.
    """
    paths = complete_files([*folder.glob("*.tsv"), *folder.glob("*.json")])
    return {path.name: _digest(path, digests) for path in paths if path.name not in _NOT_OURS}


def is_current(folder: Path, made_from: Mapping[str, str], code: str, digests: Digests) -> bool:
    """Return whether verdict and tables were computed from the same inputs by the same code.

    Parameters
    ----------
    folder : Path
        Folder ``group/`` of the output data set.
    made_from : mapping of str to str
        Hashes of the inputs, from `origins_of`.
    code : str
        Hash of the code of the group level.
    digests : Digests
        Digests of files.

    Returns
    -------
    bool
    """
    try:
        verdict: dict[str, Any] = tables.read_json(folder / "verdict.json")
    except TableError:  # missing or incomplete
        return False
    return (
        verdict.get("made_from") == dict(made_from)
        and verdict.get("code_hash") == code
        and verdict.get("files") == group_files(folder, digests)
    )
