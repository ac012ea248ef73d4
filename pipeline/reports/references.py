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
_DOI = rf"10\.\d{{4,9}}/{_WORD}*(?:\w|\([\w.:;/-]*\))"
#: A DOI in a text; its first group is the DOI itself.
DOI = re.compile(rf"doi:({_DOI})", re.ASCII)
_NAMED = re.compile(rf"(?P<name>\w[\w'-]* (?:et al\. )?(?:19|20)\d\d), (?a:doi:(?P<doi>{_DOI}))")
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


def listed(dois: Sequence[str], texts: Sequence[str] = ()) -> list[str]:
    """Return one line per work.

    Parameters
    ----------
    dois : sequence of str
        Works, as `cited` returns them.
    texts : sequence of str
        Texts that cite them. Where a text names author and year before the DOI, as in
        ``Kaiser 2015, doi:...``, they stand for a work that ``templates/references.bib`` lacks.

    Returns
    -------
    list of str
        The DOI alone for a work of which neither is known.

    Examples
    --------
    >>> listed(["10.1000/x"], ["after smoothing (Doe 2020, doi:10.1000/x)"])
    ['Doe 2020. doi:10.1000/x']
    >>> listed(["10.1000/x"])
    ['doi:10.1000/x']
    """
    available = _available()
    named = {m["doi"]: m["name"] for text in texts for m in _NAMED.finditer(text)}
    lines = []
    for doi in dois:
        if doi.lower() in available:
            lines.append(available[doi.lower()].text)
        else:
            lines.append(f"{named[doi]}. doi:{doi}" if doi in named else f"doi:{doi}")
    return lines


def bibtex(dois: Sequence[str]) -> str:
    """Return works as BibTeX, with the DOI alone for a work of which no more is known."""
    available = _available()
    entries = [
        available[doi.lower()].bib
        if doi.lower() in available
        else f"@misc{{doi{k}, doi={{{doi}}}, howpublished={{doi:{doi}}}}}"
        for k, doi in enumerate(dois, start=1)
    ]
    return "\n".join(entries) + "\n"
