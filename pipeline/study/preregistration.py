"""The plan, frozen before arm labels are read: what was decided before anything was seen."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from circuitshift.pipeline import __version__
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.provenance import code_hash
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.study_file import StudyFile

__all__ = ["compare_plan", "freeze_plan", "installed_code", "plan_of"]

# Module that computes each part, and whether its data files count with the code.
_CODE = {
    "preprocessing": ("circuitshift.pipeline.preproc.derivatives", True),
    "measuring": ("circuitshift.pipeline.measure.run", False),
    "group level": ("circuitshift.pipeline.study.group_level", True),
}


def installed_code() -> dict[str, str]:
    """Hash the code that computes numbers of an analysis: preprocessing, measuring, group level.

    Returns
    -------
    dict of str to str
        As in the records of preprocessing, the sidecars of matrices, and ``verdict.json``.
    """
    return {part: code_hash(module, data=data) for part, (module, data) in _CODE.items()}


def plan_of(stated: StudyFile, settings: AnalysisSettings) -> dict[str, Any]:
    """Return everything that decides the analysis and can be known without the data.

    Parameters
    ----------
    stated : StudyFile
    settings : AnalysisSettings

    Returns
    -------
    dict
        JSON only: study file, settings, content of files of circuits and strategies, code.
    """
    files = {
        name: tables.read_text(Path(name))
        for name in (*settings.circuits, *settings.strategy_files)
    }
    recorded = {
        k: v for k, v in asdict(settings).items() if k not in ("circuits", "strategy_files")
    }
    content = {
        "study file": {key: value for key, value in stated.stated},  # noqa: C416 - of any value
        "settings": recorded,
        "files": {Path(name).name: _hash(text) for name, text in files.items()},
        "version": __version__,
        "code": installed_code(),
    }
    return dict(json.loads(json.dumps(content)))


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def freeze_plan(folder: Path, plan: Mapping[str, Any]) -> Path:
    """Write plan.json; an equal plan that is there already keeps its date.

    Parameters
    ----------
    folder : Path
        ``group/``.
    plan : mapping
        From `plan_of`.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If another plan was frozen there.
    """
    path = folder / "plan.json"
    if path.exists():
        frozen = tables.read_json(path)
        if frozen.get("plan") != plan:
            raise InputError(
                f"{path}: another plan was frozen on {frozen.get('date')}; a plan is frozen once. "
                "Take another OUTPUT_DIR, or remove the file and say so in your report"
            )
        return path
    content = {
        "hash": _hash(plan),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "results_were_there": (folder / "tests.tsv").exists(),
        "plan": dict(plan),
    }
    tables.write_json(path, content)
    return path


def _code_departures(folder: Path, frozen: Mapping[str, Any], plan: Mapping[str, Any]) -> list[str]:
    """Name the version, and the code of each part of the analysis, that are not those frozen."""
    out = ["version"] if frozen.get("version") != plan["version"] else []
    known = frozen.get("code")
    before = known if isinstance(known, dict) else {}
    roots = (folder.parent, *folder.parent.glob("datasets/*"))
    is_raw = any((root / "preproc").is_dir() for root in roots)
    parts = [part for part in plan["code"] if is_raw or part != "preprocessing"]
    return out + [f"code: {part}" for part in parts if before.get(part) != plan["code"][part]]


def compare_plan(folder: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Say whether an analysis follows the plan that was frozen.

    Parameters
    ----------
    folder : Path
        ``group/``.
    plan : mapping
        Of this analysis.

    Returns
    -------
    dict
        ``frozen``, and with it ``hash``, ``date``, ``followed``, ``departures`` and ``sentence``.
    """
    path = folder / "plan.json"
    if not path.exists():
        return {"frozen": False, "sentence": "No plan was frozen before the data were read."}
    found = tables.read_json(path)
    frozen = found.get("plan") or {}
    departures = sorted(
        f"{part}: {key}"
        for part in ("study file", "settings", "files")
        for key in {*frozen.get(part, {}), *plan[part]}
        if frozen.get(part, {}).get(key) != plan[part].get(key)
    )
    departures += _code_departures(folder, frozen, plan)
    start = f"The plan was frozen on {found.get('date')} (hash {found.get('hash')})"
    if found.get("hash") != _hash(frozen):
        start += ", and plan.json was edited since"
        departures.append("plan.json itself")
    if found.get("results_were_there"):
        start += ", after results were there"
    followed = not departures
    end = (
        "this analysis follows it" if followed else f"this departs from it: {', '.join(departures)}"
    )
    return {
        "frozen": True,
        "hash": found.get("hash"),
        "date": found.get("date"),
        "followed": followed and not found.get("results_were_there"),
        "departures": departures,
        "sentence": f"{start}; {end}.",
    }
