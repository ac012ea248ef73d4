"""Read and write the description of a data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from circuitshift.pipeline import __version__
from circuitshift.pipeline.errors import CircuitshiftError, InputError
from circuitshift.pipeline.io import tables

__all__ = ["generator", "refuse_foreign", "write_dataset_description"]

_IGNORED = (
    "*.html",
    "group/",
    "logs/",
    "figures/",
    "preproc/",
    "converted/",
    "sub-*/log/",
    "**/*_xfm.*",
    "**/*_boldmap.*",
    "**/*.bib",
    "ratings/",
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
        Folders, URLs or DOIs (``doi:...``) of the data sets from which it was derived.
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
        "GeneratedBy": [{"Name": "circuitshift", "Version": __version__}],
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
    path = folder / "dataset_description.json"
    try:
        programs = tables.read_json(path).get("GeneratedBy") if path.exists() else None
    except CircuitshiftError:
        return ""
    if isinstance(programs, list) and programs and isinstance(programs[0], dict):
        return str(programs[0].get("Name", ""))
    return ""
