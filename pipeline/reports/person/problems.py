"""What went wrong with a run, and which flag is likely to help."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["ADVICE", "Problem", "problems_of"]

_LINES = 15  # of a crash file
_CRASH = re.compile(r"crash-[\w.-]+\.txt")

#: What to do about each code of ``sub-X_runs.tsv``.
ADVICE: dict[str, str] = {
    "too-short": "--min-minutes lets shorter runs in; their correlations are noisier.",
    "motion": "--max-mean-fd lets more motion in; --denoise scrubbing drops the worst volumes.",
    "coverage": "Look at the field of view and at the normalisation; --min-coverage asks less of a "
    "region.",
    "too-little-data": "--denoise 24p takes fewer regressors out than the default; a strategy "
    "without censoring or filter keeps more.",
    "confounds": "--denoise with a strategy whose columns this table has; --denoise-file for your "
    "own.",
    "image": "Fetch or write the file again; --bids-filter-file leaves it out.",
    "table": "Mend the file; --bids-filter-file leaves it out.",
    "atlas": "--atlas with the atlas that these data were made with, or that covers them.",
    "input": "--space, --task-id or --bids-filter-file choose among files; --dry-run shows what is "
    "found.",
    "crash": "--verbose shows more, --mem-gb and --nprocs 1 spare memory; if the text below does "
    "not explain it, report it with the crash file.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A run that could not be measured, or does not enter the analysis.

    Parameters
    ----------
    where : str
        Run, or file.
    text : str
        What is wrong.
    advice : str
        Which flag is likely to help; may be empty.
    log : str
        End of the crash file; empty when there is none.
    """

    where: str
    text: str
    advice: str = ""
    log: str = ""


def problems_of(rows: Sequence[Mapping[str, str]], logs: Path) -> tuple[Problem, ...]:
    """Name what failed or was excluded, each once.

    Parameters
    ----------
    rows : sequence of mapping
        Of ``sub-X_runs.tsv``.
    logs : Path
        Folder of crash files.

    Returns
    -------
    tuple of Problem
        What failed first.
    """
    out: dict[tuple[str, str], Problem] = {}
    also: dict[tuple[str, str], list[str]] = {}
    for row in sorted(rows, key=lambda row: row["status"] != "failed"):
        if row["status"] == "included":
            continue
        advice = " ".join(ADVICE[code] for code in row["code"].split("; ") if code in ADVICE)
        key = (row["run"], row["reason"].replace(f"strategy {row['strategy']} ", "strategy "))
        also.setdefault(key, []).append(row["strategy"])
        out.setdefault(key, Problem(row["run"], row["reason"], advice, _log(row["reason"], logs)))
    return tuple(
        replace(found, text=f"{found.text} (the same with {', '.join(also[key][1:])})")
        if len(also[key]) > 1
        else found
        for key, found in out.items()
    )


def _log(reason: str, logs: Path) -> str:
    """End of the crash file that a reason names."""
    name = _CRASH.search(reason)
    path = logs / name[0] if name else None
    if path is None or not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    return "\n".join(lines[-_LINES:])
