"""References of a methods text: the DOIs that it names, as a list to read and as BibTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["DOI", "Entry", "bibtex", "cited", "listed"]

#: Data files that this module reads, relative to its folder (`io.provenance.code_hash`).
PACKAGE_DATA = ("templates/references.bib",)
_WORD = r"(?:[\w.:;/-]|\([\w.:;/-]*\))"  # brackets belong to it only in pairs
#: A DOI in a text; its first group is the DOI itself.
DOI = re.compile(rf"doi:(10\.\d{{4,9}}/{_WORD}*(?:\w|\([\w.:;/-]*\)))", re.ASCII)
_FIELD = re.compile(r"(\w+)=\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One work of ``templates/references.bib``.

    Parameters
    ----------
    bib : str
        Its entry in BibTeX.
    text : str
        Author, year, title, journal and DOI in one line.
    """

    bib: str
    text: str


@cache
def _available() -> dict[str, Entry]:
    """Entries by DOI, in lower case."""
    path = Path(__file__).parent / PACKAGE_DATA[0]
    out = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        said = dict(_FIELD.findall(line))
        author = said["author"].replace(" and others", " et al.")
        text = f"{author} ({said['year']}). {said['title']}. {said['journal']}. doi:{said['doi']}"
        out[said["doi"].lower()] = Entry(line, text)
    return out


def cited(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the DOIs that texts name, each once, in their order.

    Examples
    --------
    >>> cited(["As before (doi:10.1002/hbm.24528).", "See doi:10.1002/hbm.24528"])
    ('10.1002/hbm.24528',)
    """
    return tuple(dict.fromkeys(doi for text in texts for doi in DOI.findall(text)))


def listed(dois: Sequence[str]) -> list[str]:
    """Return one line a work; of works that are not in the list, the DOI alone."""
    available = _available()
    return [available[d.lower()].text if d.lower() in available else f"doi:{d}" for d in dois]


def bibtex(dois: Sequence[str]) -> str:
    """Return the works as BibTeX; a work that is not in the list has its DOI alone."""
    available = _available()
    entries = [
        available[doi.lower()].bib
        if doi.lower() in available
        else f"@misc{{doi{k}, doi={{{doi}}}, howpublished={{doi:{doi}}}}}"
        for k, doi in enumerate(dois, start=1)
    ]
    return "\n".join(entries) + "\n"
