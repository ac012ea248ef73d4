"""Freeze the analysis plan before the data are read, and compare later analyses with it."""

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

# Module that computes each part, and whether its data files are hashed with the code.
_CODE = {
    "preprocessing": ("circuitshift.pipeline.preproc.derivatives", True),
    "measuring": ("circuitshift.pipeline.measure.run", False),
    "group level": ("circuitshift.pipeline.study.group_level", True),
}


def installed_code() -> dict[str, str]:
    """Hash the code of each part of the analysis: preprocessing, measuring, group level.

    Returns
    -------
    dict of str to str
        Hash by part, equal to the hashes in the records of preprocessing, in the JSON files of
        matrices, and in ``verdict.json``.
    """
    return {part: code_hash(module, data=data) for part, (module, data) in _CODE.items()}


def plan_of(stated: StudyFile, settings: AnalysisSettings) -> dict[str, Any]:
    """Return all decisions of an analysis that are independent of the data.

    Parameters
    ----------
    stated : StudyFile
        Content of the study file.
    settings : AnalysisSettings
        Settings of the analysis.

    Returns
    -------
    dict
        JSON content: study file, settings, hashes of the files of circuits and strategies, version
        and hashes of the code.
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
    """Write ``plan.json``; if it contains the same plan already, leave it with its date.

    Parameters
    ----------
    folder : Path
        Folder ``group/`` of the output data set.
    plan : mapping
        Plan from `plan_of`.

    Returns
    -------
    Path
        Path of ``plan.json``.

    Raises
    ------
    InputError
        If the folder contains a different plan.
    """
    path = folder / "plan.json"
    if path.exists():
        frozen = tables.read_json(path)
        if frozen.get("plan") != plan:
            raise InputError(
                f"{path}: a different plan was frozen on {frozen.get('date')}; a plan is frozen "
                "once. Use another OUTPUT_DIR, or remove the file and report that you did"
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
    """List the parts of the analysis whose code or version differs from the frozen plan."""
    out = ["version"] if frozen.get("version") != plan["version"] else []
    code = frozen.get("code")
    before = code if isinstance(code, dict) else {}
    roots = (folder.parent, *folder.parent.glob("datasets/*"))
    is_raw = any((root / "preproc").is_dir() for root in roots)
    parts = [part for part in plan["code"] if is_raw or part != "preprocessing"]
    return out + [f"code: {part}" for part in parts if before.get(part) != plan["code"][part]]


def compare_plan(folder: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the plan of an analysis with the frozen plan.

    Parameters
    ----------
    folder : Path
        Folder ``group/`` of the output data set.
    plan : mapping
        Plan of this analysis, from `plan_of`.

    Returns
    -------
    dict
        ``frozen`` (whether a plan was frozen) and ``sentence``; if a plan was frozen, also
        ``hash``, ``date``, ``followed`` and ``departures``.
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
        start += ", and plan.json was edited afterwards"
        departures.append("plan.json itself")
    if found.get("results_were_there"):
        start += ", after results had been written"
    followed = not departures
    end = (
        "this analysis follows it"
        if followed
        else f"this analysis departs from it in: {', '.join(departures)}"
    )
    return {
        "frozen": True,
        "hash": found.get("hash"),
        "date": found.get("date"),
        "followed": followed and not found.get("results_were_there"),
        "departures": departures,
        "sentence": f"{start}; {end}.",
    }
