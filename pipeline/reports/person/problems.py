"""Problems of runs, and command-line options that are likely to help."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["ADVICE", "Problem", "problems_of"]

_LINES = 15  # of a crash file
_CRASH = re.compile(r"crash-[\w.-]+\.txt")

#: Advice for each code of ``sub-X_runs.tsv``.
ADVICE: dict[str, str] = {
    "too-short": "--min-minutes admits shorter runs, whose correlations are noisier.",
    "motion": "--max-mean-fd admits runs with more motion; --denoise scrubbing censors the worst "
    "volumes.",
    "coverage": "Check the field of view and the normalisation; --min-coverage lowers the required "
    "coverage of a region.",
    "registration": "Inspect the outlines in the section on preprocessing, and check orientation, "
    "contrast and coverage of the raw images.",
    "registration-disagrees": "Compare the outlines of all runs in the section on preprocessing.",
    "visit-too-short": "A smaller --visit-minutes retains visits with less data.",
    "run-order": "Write AcquisitionTime into the JSON files of the runs.",
    "part-too-short": "--combine-runs concatenate uses runs of any length.",
    "not-concatenated": "--combine-runs average combines such runs.",
    "too-little-data": "--denoise 24p uses fewer regressors than the default; strategies "
    "without censoring or filtering retain more data.",
    "confounds": "Use --denoise with a strategy whose columns this table contains, or "
    "--denoise-file with a strategy of your own.",
    "image": "Download or write the file again, or exclude it with --bids-filter-file.",
    "table": "Correct the file, or exclude it with --bids-filter-file.",
    "atlas": "Use --atlas with the atlas of these data, or with an atlas that covers them.",
    "input": "Select files with --space, --task-id or --bids-filter-file; --dry-run lists the "
    "files that were found.",
    "crash": "--verbose shows more details, and --mem-gb and --nprocs 1 reduce memory use. If the "
    "text below does not explain the problem, report it with the crash file.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A run that could not be measured or is excluded from the analysis.

    Parameters
    ----------
    where : str
        Run or file.
    text : str
        Description of the problem.
    advice : str
        Command-line options that are likely to help; may be empty.
    log : str
        End of the crash file; empty if there is none.
    """

    where: str
    text: str
    advice: str = ""
    log: str = ""


def problems_of(rows: Sequence[Mapping[str, str]], logs: Path) -> tuple[Problem, ...]:
    """List failed and excluded runs, and merge the same problem of several strategies.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of ``sub-X_runs.tsv``.
    logs : Path
        Folder of crash files.

    Returns
    -------
    tuple of Problem
        Failed runs, then excluded runs.
    """
    out: dict[tuple[str, str], Problem] = {}
    strategies: dict[tuple[str, str], list[str]] = {}
    for row in sorted(rows, key=lambda row: row["status"] != "failed"):
        if row["status"] in ("included", "combined"):
            continue
        advice = " ".join(ADVICE[code] for code in row["code"].split("; ") if code in ADVICE)
        key = (row["run"], row["reason"].replace(f"strategy {row['strategy']} ", "strategy "))
        strategies.setdefault(key, []).append(row["strategy"])
        out.setdefault(key, Problem(row["run"], row["reason"], advice, _log(row["reason"], logs)))
    return tuple(
        replace(problem, text=f"{problem.text} (also with {', '.join(strategies[key][1:])})")
        if len(strategies[key]) > 1
        else problem
        for key, problem in out.items()
    )


def _log(reason: str, logs: Path) -> str:
    """Return the end of the crash file that a reason names."""
    name = _CRASH.search(reason)
    path = logs / name[0] if name else None
    if path is None or not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    return "\n".join(lines[-_LINES:])
