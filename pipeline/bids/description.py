"""What a data set says of itself, and what ours says."""

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
        Root of the derivative data set; made when it is not there.
    name : str
        Name of the data set.
    sources : sequence of str
        Folders, URLs or DOIs (``doi:...``) it was made from.
    links : mapping of str to str, optional
        Names used in ``bids:NAME:...`` references, and the folder or URL of each.

    Raises
    ------
    InputError
        If the folder is a data set that another program made.
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
    """Refuse to write into the data set of another program.

    Parameters
    ----------
    out_dir : Path

    Raises
    ------
    InputError
        If it is one.
    """
    maker = generator(out_dir)
    if (out_dir / "dataset_description.json").exists() and maker != "circuitshift":
        raise InputError(
            f"{out_dir}: it is a data set {f'of {maker}' if maker else 'already'}; choose "
            "another output folder, nothing is written into it"
        )


def _url(text: str) -> str:
    """Write a folder as a URL; what is one already, or a DOI, stays."""
    is_url = text.startswith("doi:") or "://" in text
    return text if is_url else Path(text).resolve().as_uri()


def generator(folder: Path) -> str:
    """Name of the program that made a derivative, as its description says; empty if unsaid."""
    path = folder / "dataset_description.json"
    try:
        makers = tables.read_json(path).get("GeneratedBy") if path.exists() else None
    except CircuitshiftError:
        return ""
    if isinstance(makers, list) and makers and isinstance(makers[0], dict):
        return str(makers[0].get("Name", ""))
    return ""
