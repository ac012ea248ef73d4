"""Read the results of finished analyses, which are pooled over data sets or sites."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.errors import InputError, InputProblem, InputProblemsError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.study.verdict_file import SCHEMA_VERSION

__all__ = ["FinishedStudy", "StudyEstimate", "read_finished", "same_data", "study_names"]

_NUMBERS = ("estimate", "se", "sd", "bound", "ci_low", "ci_high")
_READABLE = SCHEMA_VERSION.partition(".")[0]  # first number of the version of verdict.json


@dataclass(frozen=True, slots=True)
class StudyEstimate:
    """One row of ``tests.tsv``.

    Parameters
    ----------
    estimate, se : float
        Estimate and standard error, in `unit`; NaN if it was not tested.
    sd : float
        Standard deviation of change between participants of one arm, in `unit`.
    bound : float
        Smallest effect of interest, in `unit`.
    unit : str
        Unit of the estimate.
    n, n_control : int
        Numbers of treated participants and of participants in the control arm.
    ci_low, ci_high : float
        95 % confidence interval.
    method : str
        Statistic and permutations.
    note : str
        Reason why it was not tested, or a remark.
    """

    estimate: float
    se: float
    sd: float
    bound: float
    unit: str
    n: int
    n_control: int
    ci_low: float = float("nan")
    ci_high: float = float("nan")
    method: str = ""
    note: str = ""

    @property
    def is_tested(self) -> bool:
        """Whether there is an estimate with a standard error above 0."""
        return abs(self.estimate) < float("inf") and 0 < self.se < float("inf")


@dataclass(frozen=True, slots=True, eq=False)
class FinishedStudy:
    """Results of the group level of one study.

    Parameters
    ----------
    name : str
        Name of the study in tables and figures, unique in the meta-analysis.
    folder : Path
        Output folder of the analysis.
    verdict : mapping
        Content of ``verdict.json``.
    estimates : mapping of (str, str) to StudyEstimate
        Rows of ``tests.tsv`` by family and term.
    """

    name: str
    folder: Path
    verdict: Mapping[str, Any]
    estimates: Mapping[tuple[str, str], StudyEstimate]

    def family(self, name: str) -> dict[str, StudyEstimate]:
        """Return the estimates of one family.

        Parameters
        ----------
        name : str
            Name of the family.

        Returns
        -------
        dict of str to StudyEstimate
            Estimates by term, in the order of the table.
        """
        return {term: row for (family, term), row in self.estimates.items() if family == name}


def study_names(stated: Sequence[tuple[str, Path]]) -> list[str]:
    """Name studies after their folders where no name is stated.

    Parameters
    ----------
    stated : sequence of (str, Path)
        Name, which may be empty, and folder of each study.

    Returns
    -------
    list of str
        The stated name, or the end of the path of the folder that distinguishes it from all others.

    Examples
    --------
    >>> study_names([("", Path("a/results")), ("", Path("b/results")), ("site 3", Path("c"))])
    ['a/results', 'b/results', 'site 3']
    """
    parts = [folder.absolute().parts[1:] for _, folder in stated]
    unnamed = [k for k, (name, _) in enumerate(stated) if not name]
    deepest = max((len(parts[k]) for k in unnamed), default=1)
    for depth in range(1, deepest + 1):
        found = ["/".join(parts[k][-depth:]) for k in unnamed]
        if len(set(found)) == len(found):
            break
    names = dict(zip(unnamed, found, strict=True)) if unnamed else {}
    return [name or names[k] for k, (name, _) in enumerate(stated)]


def read_finished(
    stated: Sequence[tuple[str, Path]],
) -> tuple[tuple[FinishedStudy, ...], list[InputProblem]]:
    """Read the studies of a meta-analysis.

    Parameters
    ----------
    stated : sequence of (str, Path)
        Name, which may be empty, and output folder of each study.

    Returns
    -------
    studies : tuple of FinishedStudy
        Studies that can be read, in the order of `stated`.
    problems : list of InputProblem
        Folders without readable results, studies that are given twice, and fewer than two studies.
    """
    names = study_names(stated)
    problems: list[InputProblem] = []
    studies = []
    if len(stated) < 2:
        fix = "name the output folders of two or more analyses"
        where = ", ".join(str(folder) for _, folder in stated) or "circuitshift pool"
        problems.append(InputProblem(where, f"{len(stated)} study cannot be pooled", fix))
    for name, (_, folder) in zip(names, stated, strict=True):
        try:
            studies.append(_read(name, folder))
        except InputProblemsError as error:
            problems += error.problems
        except InputError as error:
            problems.append(InputProblem(str(folder), str(error), "run the group level again"))
    problems += _repeated_names(names, stated)
    problems += same_data(studies)
    return tuple(studies), problems


def _read(name: str, folder: Path) -> FinishedStudy:
    group = folder / "group"
    files = [group / "verdict.json", group / "tests.tsv"]
    missing = [path.name for path in files if not path.exists()]
    if missing:
        _refuse(
            folder,
            f"the folder group contains no {' and no '.join(missing)}",
            "name the output folder of a finished analysis, or run its group level",
        )
    verdict = tables.read_json(files[0])
    version = str(verdict.get("schema_version", "1"))
    if version.partition(".")[0] != _READABLE:
        _refuse(
            folder,
            f"verdict.json has version {version} of the model and of its format, and this program "
            f"reads version {_READABLE}",
            "run the group level again with this version of circuitshift",
        )
    recorded = (verdict.get("files") or {}).get("tests.tsv")
    if recorded is not None and recorded != tables.checksum(files[1]):
        _refuse(
            folder,
            "tests.tsv is not the table from which verdict.json was written",
            "run the group level again",
        )
    return FinishedStudy(name, folder, verdict, _estimates(files[1]))


def _refuse(folder: Path, what: str, fix: str) -> None:
    raise InputProblemsError("Reading the studies", [InputProblem(str(folder), what, fix)])


def _estimates(path: Path) -> dict[tuple[str, str], StudyEstimate]:
    table = tables.read_table(path)
    numbers = {name: table.numbers(name) for name in _NUMBERS}
    counts = {name: table.numbers(name) for name in ("n", "n_control")}
    found: dict[tuple[str, str], StudyEstimate] = {}
    for k, row in enumerate(table.rows()):
        own = StudyEstimate(
            estimate=float(numbers["estimate"][k]),
            se=float(numbers["se"][k]),
            sd=float(numbers["sd"][k]),
            bound=float(numbers["bound"][k]),
            ci_low=float(numbers["ci_low"][k]),
            ci_high=float(numbers["ci_high"][k]),
            n=int(np.nan_to_num(counts["n"][k])),
            n_control=int(np.nan_to_num(counts["n_control"][k])),
            unit=_text(row["unit"]),
            method=_text(row["method"]),
            note=_text(row["note"]),
        )
        found.setdefault((row["family"], row["term"]), own)
    return found


def _text(cell: str) -> str:
    return "" if cell == tables.NOT_AVAILABLE else cell


def _repeated_names(names: Sequence[str], stated: Sequence[tuple[str, Path]]) -> list[InputProblem]:
    """Report names that occur more than once, with the folders that have them."""
    return [
        InputProblem(
            " and ".join(
                str(folder) for own, (_, folder) in zip(names, stated, strict=True) if own == name
            ),
            f"{times} studies are named {name!r}",
            "each study counts once: omit the repetition, or give different studies different "
            "names (NAME=FOLDER)",
        )
        for name, times in Counter(names).items()
        if times > 1
    ]


def same_data(studies: Sequence[FinishedStudy]) -> list[InputProblem]:
    """Report studies whose results were computed from the same measurements.

    Parameters
    ----------
    studies : sequence of FinishedStudy
        Studies of the meta-analysis.

    Returns
    -------
    list of InputProblem
        One problem for each group of studies that have a digest in common: that of the measured
        data (``made_from``), or that of the changes of the participants (``files``).
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for key, name in (("made_from", "results"), ("files", "change.tsv")):
        by_digest: dict[str, list[str]] = {}
        for study in studies:
            digest = (study.verdict.get(key) or {}).get(name)
            if digest:
                by_digest.setdefault(digest, []).append(str(study.folder))
        for folders in by_digest.values():
            if len(folders) > 1:
                groups.setdefault(tuple(folders), []).append(name)
    return [
        InputProblem(
            " and ".join(folders),
            "these are analyses of the same data (identical digests of "
            f"{' and '.join(names)}), which would count more than once",
            "keep one of them",
        )
        for folders, names in groups.items()
    ]
