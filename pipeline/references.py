"""Works that a text cites -> a list of references, and BibTeX."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Reference", "bibtex", "cited"]

_WORD = r"(?:[\w.:;/<>-]|\([\w.:;/<>-]*\))"  # brackets belong to it only in pairs
_DOI = re.compile(rf"doi:(10\.\d{{4,9}}/{_WORD}*(?:\w|\([\w.:;/-]*\)))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """One work.

    Parameters
    ----------
    doi : str
        Without ``doi:``.
    author, title, journal : str
        As in BibTeX; empty when only the DOI is known.
    year : int
        0 when unknown.
    """

    doi: str
    author: str = ""
    title: str = ""
    journal: str = ""
    year: int = 0

    @property
    def text(self) -> str:
        """One line of a list of references."""
        if not self.title:
            return f"doi:{self.doi}"
        people = self.author.split(" and ")
        first = people[0].partition(",")[0]
        who = f"{first} et al." if len(people) > 2 or "others" in people else _both(people)
        words = f"{who} {self.year}. {self.title}. {self.journal}. doi:{self.doi}"
        return re.sub(r"\{\\\"(.)\}", "\\1\u0308", words).replace("\\&", "&")

    @property
    def key(self) -> str:
        """BibTeX key: first author and year, or the DOI."""
        name = self.author.partition(",")[0] if self.title else ""
        return re.sub(r"\W", "", f"{name}{self.year or ''}" if name else self.doi)


def _both(people: list[str]) -> str:
    return " & ".join(name.partition(",")[0] for name in people)


@cache
def _known() -> dict[str, dict[str, Any]]:
    text = Path(__file__).with_name("references.toml").read_text(encoding="utf-8")
    return {doi.lower(): {"doi": doi, **about} for doi, about in tomllib.loads(text).items()}


def cited(texts: Iterable[str]) -> tuple[Reference, ...]:
    """Find every ``doi:`` in some texts.

    Parameters
    ----------
    texts : iterable of str

    Returns
    -------
    tuple of Reference
        Each work once, in the order of their first mention.

    Examples
    --------
    >>> [r.year for r in cited(["Bloom 1995 (doi:10.1177/0193841X9501900504)."])]
    [1995]
    """
    found: dict[str, Reference] = {}
    for text in texts:
        for doi in _DOI.findall(text):
            about = _known().get(doi.lower(), {"doi": doi})
            found.setdefault(doi.lower(), Reference(**about))
    return tuple(found.values())


def bibtex(references: Iterable[Reference]) -> str:
    """Write references as BibTeX.

    Parameters
    ----------
    references : iterable of Reference

    Returns
    -------
    str
        ``@article`` for works that are known, ``@misc`` with the DOI for others.
    """
    out = []
    for one in references:
        kind = "article" if one.title else "misc"
        fields = {name: getattr(one, name) for name in ("author", "title", "journal", "year")}
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        lines += [f"  doi = {{{one.doi}}},"]
        out.append("\n".join([f"@{kind}{{{one.key},", *lines, "}"]))
    return "\n\n".join(out) + "\n" * bool(out)
