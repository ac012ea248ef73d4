"""Convert the cells of tables to numbers.

Tables that were edited by hand or saved by a spreadsheet write numbers in many ways. What is
unambiguous is converted, and a note states how; what is ambiguous is described and not converted.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from circuitshift.pipeline.arrays import Floats

__all__ = ["MISSING", "NumericColumn", "listed", "numeric_column", "parse_number"]

#: Cells that state a missing value in any column, in lower case.
MISSING = frozenset(
    {"", "n/a", "na", "nan", "null", "n.a.", "#n/a", "#null!", "-", "--", "\u2013", "\u2014", "."}
)
# "none" is a missing number, but a category in a column of text, such as a medication.
_MISSING_NUMBER = MISSING | {"none"}

# A column is numeric if at least this proportion, and this number, of its values are numbers.
_NUMERIC_SHARE = 0.7
_MIN_NUMERIC = 3

_EXPONENT = r"(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(rf"([+-]?(?:\d+\.?\d*|\.\d+){_EXPONENT})\s*(%?)")
_COMMA = re.compile(rf"[+-]?\d*,\d+{_EXPONENT}\s*%?")
# 1,234 is 1234 or 1.234; 0,123 and 1234,567 can only be decimals
_COMMA_OR_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}\s*%?")
_POINT_OR_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}\s*%?")
_GROUPED = re.compile(
    r"[+-]?\d{1,3}(?:(?:,\d{3}){2,}|(?:\.\d{3}){2,}|(?:,\d{3})+\.\d+|(?:\.\d{3})+,\d+"
    r"|(?:['\u2019 \u00a0\u202f]\d{3})+(?:[.,]\d+)?)"
)
# numbers with a bound or a unit: >60, ~30, 21 y, 5mg
_WITH_UNIT = re.compile(
    r"(?:[<>\u2264\u2265~\u2248]=?\s*[+-]?\d+(?:[.,]\d+)?.*|[+-]?\d+(?:[.,]\d+)?\s*[^\W\d_]+\.?)"
)
# Whole numbers that often stand for missing values, if all other values are far from them.
_USUAL_CODES = frozenset({-9.0, -99.0, -999.0, -9999.0, -888.0, -777.0, 999.0, 9999.0, 99999.0})


@dataclass(frozen=True, slots=True, eq=False)
class NumericColumn:
    """The numbers of one column, and how they were read.

    Parameters
    ----------
    values : ndarray, shape (n_rows,)
        Numbers, with NaN for missing values and for text. All NaN in a column that is not numeric.
    is_numeric : bool
        Whether the column is numeric. A column without values is numeric.
    words : tuple of int
        Rows with text in a column that is otherwise numeric.
    notes : tuple of str
        How the numbers were read where they are not written with a decimal point; clauses that
        follow the name of the column.
    doubt : str
        Why the numbers of the column must not be used as they are: a clause that follows the name
        of the column, with the remedy after a semicolon. Empty if there is no doubt.
    is_ambiguous : bool
        Whether the doubt concerns the meaning of numbers. Otherwise it concerns a column of text
        that contains numbers, which may be used as text.
    """

    values: Floats
    is_numeric: bool
    words: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    doubt: str = ""
    is_ambiguous: bool = False


@lru_cache(maxsize=65536)  # questionnaires repeat few values many times
def parse_number(text: str) -> float | None:
    """Convert one cell to a number.

    Scientific notation and percentages are accepted; 45 % is converted to 45. A decimal comma is
    not accepted, because only the complete column shows what a comma means; see `numeric_column`.

    Parameters
    ----------
    text : str
        Content of the cell.

    Returns
    -------
    float or None
        NaN for a missing value; None for text that is not a finite number.
    """
    text = text.strip()
    if text.lower() in _MISSING_NUMBER:
        return math.nan
    found = _PLAIN.fullmatch(text.replace("\u2212", "-"))
    if not found:
        return None
    value = float(found[1])
    return value if math.isfinite(value) else None


def listed(values: Sequence[str], n: int = 3) -> str:
    """Format the first different values for a message, in quotes."""
    distinct = list(dict.fromkeys(values))
    return ", ".join(map(repr, distinct[:n])) + (
        f" and {len(distinct) - n} others" if len(distinct) > n else ""
    )


def numeric_column(values: Sequence[str], *, codes_stated: bool = False) -> NumericColumn:
    """Read the cells of one column as numbers.

    Parameters
    ----------
    values : sequence of str, length n_rows
        Cells of the column.
    codes_stated : bool, default=False
        Whether a sidecar lists the codes of missing values of this column, so that a value such
        as -999 is a number.

    Returns
    -------
    NumericColumn
        Decimal commas are converted if they cannot separate thousands. Text in a few rows of a
        numeric column is listed. A column that mixes numbers and text, percentages and other
        numbers, or commas of unclear meaning is not converted, and `NumericColumn.doubt` says why.
    """
    cells = [value.strip().replace("\u2212", "-") for value in values]
    available = [cell for cell in cells if cell.lower() not in _MISSING_NUMBER]
    plain = [cell for cell in available if parse_number(cell) is not None]
    others = [cell for cell in available if parse_number(cell) is None]
    commas = [cell for cell in others if _COMMA.fullmatch(cell)]
    grouped = [cell for cell in others if _GROUPED.fullmatch(cell)]
    numbers = [*plain, *commas, *grouped]
    nothing = np.full(len(cells), np.nan)
    n_words = len(available) - len(numbers)
    enough = len(numbers) >= max(_MIN_NUMERIC, _NUMERIC_SHARE * len(available))
    if n_words and not enough:
        return NumericColumn(nothing, False, doubt=_mixed(available, numbers))
    doubt = _unclear(plain, commas, grouped)
    if doubt:
        return NumericColumn(nothing, False, doubt=doubt, is_ambiguous=True)
    notes = _notes(available, commas)
    if commas:
        cells = [cell.replace(",", ".") if _COMMA.fullmatch(cell) else cell for cell in cells]
    parsed = [parse_number(cell) for cell in cells]
    words = tuple(row for row, value in enumerate(parsed) if value is None)
    out = np.array([math.nan if value is None else value for value in parsed], np.float64)
    doubt = "" if codes_stated else _codes(out, cells)
    return NumericColumn(out, True, words, notes, doubt, bool(doubt))


def _mixed(available: Sequence[str], numbers: Sequence[str]) -> str:
    """Describe a column of text that contains numbers, or numbers with units or bounds."""
    is_number = set(numbers)
    words = [cell for cell in available if cell not in is_number]
    units = [cell for cell in words if _WITH_UNIT.fullmatch(cell)]
    if numbers:
        return (
            f"contains {len(numbers)} numbers, such as {listed(numbers, 2)}, and {len(words)} texts"
            f" ({listed(words)}), and is read as text; write numbers or n/a only, or words only"
        )
    if len(set(units)) >= _MIN_NUMERIC and len(units) >= _NUMERIC_SHARE * len(available):
        return (
            f"contains numbers with units or bounds ({listed(units)}) and is read as text; "
            "write numbers only"
        )
    return ""


def _unclear(plain: Sequence[str], commas: Sequence[str], grouped: Sequence[str]) -> str:
    """Describe why the numbers of a column may be read in two ways; empty if they cannot."""
    all_unclear = all(_COMMA_OR_THOUSANDS.fullmatch(cell) for cell in commas)
    points = [cell for cell in plain if _POINT_OR_THOUSANDS.fullmatch(cell)]
    if grouped or (commas and all_unclear):
        return (
            f"contains separators of thousands, or decimal commas ({listed([*grouped, *commas])}), "
            "which cannot be distinguished with certainty; write numbers such as 1234.5, without "
            "commas"
        )
    if commas and points:
        return (
            f"contains decimal commas ({listed(commas, 2)}) and points that may separate thousands "
            f"({listed(points, 2)}); write numbers such as 1234.5, without commas"
        )
    percentages = [cell for cell in (*plain, *commas) if cell.endswith("%")]
    others = [cell for cell in plain if not cell.endswith("%") and float(cell) != 0]
    others += [cell for cell in commas if not cell.endswith("%")]
    if percentages and others:
        return (
            f"contains percentages ({listed(percentages, 2)}) and other numbers "
            f"({listed(others, 2)}); write all of them in the same way"
        )
    return ""


def _notes(available: Sequence[str], commas: Sequence[str]) -> tuple[str, ...]:
    """State how numbers were read that are not written with a decimal point."""
    notes = []
    if commas:
        example = commas[0]
        notes.append(
            f"has decimal commas; values such as {example} ({len(commas)} in total) were read as "
            f"{example.replace(',', '.')}"
        )
    percent = [cell for cell in available if cell.endswith("%")]
    if percent:
        notes.append(f"contains percentages; the number before the sign was used ({percent[0]})")
    return tuple(notes)


def _codes(values: Floats, cells: Sequence[str]) -> str:
    """Describe values that often stand for missing ones and are far from all other values."""
    available = values[np.isfinite(values)]
    others = available[~np.isin(available, list(_USUAL_CODES))]
    if len(others) < _MIN_NUMERIC:
        return ""
    largest = float(np.abs(others).max())
    found = []
    for code in sorted(_USUAL_CODES & set(available.tolist())):
        is_far = abs(code) > 3 * largest or (code <= -99 and others.min() >= 0)
        if is_far and (code > 0 or others.min() >= 0):
            found.append(cells[int(np.flatnonzero(values == code)[0])])
    if not found:
        return ""
    return (
        f"contains {listed(found)}, which may stand for missing values; write n/a, or list the "
        "codes of missing values under the key MissingValues of this column in the JSON sidecar "
        "(an empty list if all values are numbers)"
    )
