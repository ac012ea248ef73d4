"""Read and write the description of a data set."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circuitshift.pipeline import __version__
from circuitshift.pipeline.errors import CircuitshiftError, InputError
from circuitshift.pipeline.io import tables

__all__ = ["generator", "refuse_foreign", "simulation_sentence", "write_dataset_description"]

# Files that BIDS does not define. Confounds, references of runs and transforms have the names of
# fMRIPrep, whose .bidsignore also lists them. bids-validator-deno does not match folders by
# patterns that end with a slash.
_IGNORED = (
    "*.html",
    "group",
    "logs",
    "figures",
    "preproc",
    "converted",
    "ratings",
    "sub-*/log",
    "**/*_xfm.*",
    "**/*_boldref.*",
    "**/*_desc-confounds_timeseries.*",
    "**/*_boldmap.*",
    "**/*_structure.*",
    "**/*_jacobian.*",
    "**/*.bib",
)


def write_dataset_description(
    out_dir: Path,
    *,
    name: str,
    sources: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
) -> None:
    """Write ``dataset_description.json`` and ``.bidsignore`` of an output folder.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative data set. It is created if necessary.
    name : str
        Name of the data set.
    sources : sequence of str
        Folders, URLs or DOIs (``doi:...``) of the data sets from which it was derived. If a folder
        states that its data are simulated, the program that simulated them is named, too.
    links : mapping of str to str, optional
        Folder or URL of each name that is used in ``bids:NAME:...`` references.

    Raises
    ------
    InputError
        If the folder is a data set of another program.
    """
    refuse_foreign(out_dir)
    content: dict[str, object] = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": "circuitshift", "Version": __version__},
            *filter(None, (_simulator(Path(text)) for text in sources)),
        ],
    }
    if sources:
        content["SourceDatasets"] = [
            {"DOI" if text.startswith("doi:") else "URL": _url(text)} for text in sources
        ]
    if links:
        content["DatasetLinks"] = {key: _url(text) for key, text in links.items()}
    tables.write_json(out_dir / "dataset_description.json", content)
    tables.write_text(out_dir / ".bidsignore", "\n".join(_IGNORED) + "\n")


def refuse_foreign(out_dir: Path) -> None:
    """Raise an error if a folder is a data set of another program.

    Parameters
    ----------
    out_dir : Path
        Folder to write to; it may not exist.

    Raises
    ------
    InputError
        If the folder has a dataset_description.json that circuitshift did not write.
    """
    program = generator(out_dir)
    if (out_dir / "dataset_description.json").exists() and program != "circuitshift":
        raise InputError(
            f"{out_dir}: it is a data set of {program or 'another program'}, so nothing is written "
            "into it; choose another output folder"
        )


def _url(text: str) -> str:
    """Convert a folder to a URL; URLs and DOIs are returned unchanged."""
    is_url = text.startswith("doi:") or "://" in text
    return text if is_url else Path(text).resolve().as_uri()


def generator(folder: Path) -> str:
    """Return the program that generated a derivative, or an empty string if it is not stated."""
    programs = _programs(folder)
    if programs and isinstance(programs[0], dict):
        return str(programs[0].get("Name", ""))
    return ""


def simulation_sentence(folder: Path, name: str = "") -> str:
    """State that the data of a data set are simulated, if its description says so.

    Parameters
    ----------
    folder : Path
        Root of the data set.
    name : str
        Name of the data set for the sentence; empty for the main one.

    Returns
    -------
    str
        Sentence with the program that simulated the data; empty if no name and no description of
        a program in ``GeneratedBy`` mentions a simulation.
    """
    program = _simulator(folder)
    if not program:
        return ""
    what = f"The data of {name}" if name else "The data"
    words = ": ".join(str(program[key]) for key in ("Name", "Description") if program.get(key))
    return f"{what} are simulated, as their description states ({words.rstrip('.')})."


_SIMULATED = re.compile(r"\bsimulat", re.IGNORECASE)


def _simulator(folder: Path) -> dict[str, object]:
    """Return the record of the program that simulated a data set; empty if there is none."""
    for program in _programs(folder):
        texts = program.values() if isinstance(program, dict) else ()
        if any(_SIMULATED.search(text) for text in texts if isinstance(text, str)):
            return dict(program)
    return {}


def _programs(folder: Path) -> list[Any]:
    """Return the programs that generated a data set; empty if they cannot be read."""
    path = folder / "dataset_description.json"
    try:
        programs = tables.read_json(path).get("GeneratedBy") if path.exists() else None
    except CircuitshiftError:
        return []
    return programs if isinstance(programs, list) else []
