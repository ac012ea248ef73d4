"""References of a methods text, as a readable list and as BibTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["DOI", "Entry", "bibtex", "cited", "listed"]

#: Data files that this module reads, relative to its folder (`io.provenance.code_hash`).
PACKAGE_DATA = ("templates/references.bib",)
_WORD = r"(?:[\w.:;/-]|\([\w.:;/-]*\))"  # brackets are part of a DOI only in pairs
_DOI = rf"10\.\d{{4,9}}/{_WORD}*(?:\w|\([\w.:;/-]*\))"
#: Matches a DOI in a text; the first group is the DOI without its prefix.
DOI = re.compile(rf"doi:({_DOI})", re.ASCII)
_NAMED = re.compile(rf"(?P<name>\w[\w'-]* (?:et al\. )?(?:19|20)\d\d), (?a:doi:(?P<doi>{_DOI}))")
_FIELD = re.compile(r"(\w+)=\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One work of ``templates/references.bib``.

    Parameters
    ----------
    bib : str
        BibTeX entry.
    text : str
        Author, year, title, journal and DOI on one line.
    """

    bib: str
    text: str


@cache
def _available() -> dict[str, Entry]:
    """Return the entries of ``templates/references.bib`` by DOI in lower case."""
    path = Path(__file__).parent / PACKAGE_DATA[0]
    out = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = dict(_FIELD.findall(line))
        author = fields["author"].replace(" and others", " et al.")
        title, journal = fields["title"], fields["journal"]
        text = f"{author} ({fields['year']}). {title}. {journal}. doi:{fields['doi']}"
        out[fields["doi"].lower()] = Entry(line, text)
    return out


def cited(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the DOIs in texts, each once, in the order of their first occurrence.

    Examples
    --------
    >>> cited(["As before (doi:10.1002/hbm.24528).", "See doi:10.1002/hbm.24528"])
    ('10.1002/hbm.24528',)
    """
    return tuple(dict.fromkeys(doi for text in texts for doi in DOI.findall(text)))


def listed(dois: Sequence[str], texts: Sequence[str] = ()) -> list[str]:
    """Return a reference of one line for each work.

    Parameters
    ----------
    dois : sequence of str
        DOIs of the works, as returned by `cited`.
    texts : sequence of str
        Texts that cite the works. For works that are not in ``templates/references.bib``, author
        and year are taken from texts such as ``Kaiser 2015, doi:...``.

    Returns
    -------
    list of str
        References in the order of `dois`; only the DOI if neither source contains the work.

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
    """Return works as BibTeX; entries of works that are not listed contain the DOI only."""
    available = _available()
    entries = [
        available[doi.lower()].bib
        if doi.lower() in available
        else f"@misc{{doi{k}, doi={{{doi}}}, howpublished={{doi:{doi}}}}}"
        for k, doi in enumerate(dois, start=1)
    ]
    return "\n".join(entries) + "\n"
