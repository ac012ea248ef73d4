"""The words for names of the tables, and the minus sign, in sentences for readers.

Tables contain the names of terms and circuits (``global_signal``, ``dmn_tpn``) and hyphens before
negative numbers, as other programs read them. Sentences and pages contain words and minus signs.
"""

import re
from collections.abc import Mapping, Sequence

__all__ = ["GLOBAL_TERMS", "MINUS", "in_words", "join_names", "with_minus_signs"]

MINUS = "\N{MINUS SIGN}"

#: Words for global terms, where they differ from the names in tests.tsv.
GLOBAL_TERMS = {
    "global_signal": "global-signal amplitude",
    "average_change": "average change",
    "proportional_change": "proportional change",
}

# a hyphen before a number that does not join it to a word, a number or another hyphen
_HYPHEN = re.compile(rf"(?<![\w.)\]{MINUS}-])-(?=\.?\d)")


def with_minus_signs(text: str) -> str:
    """Replace the hyphens before negative numbers by minus signs.

    Parameters
    ----------
    text : str
        A sentence or a number.

    Returns
    -------
    str

    Examples
    --------
    >>> with_minus_signs("sub-01: -0.10 (-0.20 to 0.05), see 10-12") == (
    ...     "sub-01: \N{MINUS SIGN}0.10 (\N{MINUS SIGN}0.20 to 0.05), see 10-12")
    True
    """
    return _HYPHEN.sub(MINUS, text)


def in_words(text: str, titles: Mapping[str, str] | None = None) -> str:
    """Replace names of global terms and circuits in sentences by words.

    Parameters
    ----------
    text : str
        One or several sentences.
    titles : mapping of str to str, optional
        Title of each circuit as within a sentence; it is capitalised where a sentence starts.

    Returns
    -------
    str
        The sentences, also with minus signs. Names that are part of a file name or of a longer
        name are unchanged.

    Examples
    --------
    >>> in_words("dmn_tpn increased.", {"dmn_tpn": "antagonism of networks"})
    'Antagonism of networks increased.'
    >>> in_words("No effect is excluded for shift, global_signal (see dmn.tsv).", {"dmn": "x"})
    'No effect is excluded for shift, global-signal amplitude (see dmn.tsv).'
    """
    words = {**GLOBAL_TERMS, **(titles or {})}
    names = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))

    def word(match: re.Match[str]) -> str:
        found = words[match[0]]
        before = text[: match.start()].rstrip()
        starts = not before or before.endswith((".", "?", "!"))
        return found[:1].upper() + found[1:] if starts else found

    # neither a part of a longer name, nor followed by the extension of a file
    pattern = rf"(?<![\w./=-])(?:{names})(?![\w/=-]|\.\w)"
    return with_minus_signs(re.sub(pattern, word, text))


def join_names(names: Sequence[str]) -> str:
    """Join names with commas, and with ``and`` before the last one.

    Parameters
    ----------
    names : sequence of str
        Names.

    Returns
    -------
    str
        ``a``, ``a and b`` or ``a, b and c``; empty without names.
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
