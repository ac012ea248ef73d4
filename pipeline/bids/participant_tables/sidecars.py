"""Read the JSON sidecars of tables: meanings of values, and codes of missing values."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids.participant_tables.rows import Log, Rows, table_name
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io.cells import listed, parse_number
from circuitshift.pipeline.io.tables import NOT_AVAILABLE, read_json

__all__ = ["Sidecar", "levels_of_values", "read_sidecar", "unused_levels", "without_codes"]

# Keys of a column that list codes of missing values, without case and separators.
_CODE_KEYS = frozenset(
    {
        *("missing", "missingvalue", "missingvalues", "missingcode", "missingcodes"),
        *("missingvaluecode", "missingvaluecodes", "nan", "na", "navalue", "navalues"),
    }
)
_SUBJECT = r"(?:(?:data|values?|answers?|responses?|information|items?) )?"
#: Meaning of a level that is a missing value. The complete text must match, because "no missing
#: teeth" is not a missing value.
_MEANS_MISSING = re.compile(
    rf"(?:is |was )?{_SUBJECT}(?:is |was |are |were )?(?:missing|unavailable|n/?a|unknown|refused"
    r"|declined|not (?:available|applicable|administered|assessed|collected|recorded|reported"
    r"|answered|known|done|measured)|(?:refused?|declined?|prefer(?:red|s)? not) to (?:answer|say"
    r"|respond|disclose)|no (?:answer|response|data|information)|don'?t know|do not know)"
    r"(?: (?:data|values?|answers?|responses?|information))?"
)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The content of a JSON sidecar that concerns values.

    Parameters
    ----------
    path : Path
        The sidecar.
    levels : dict of str to dict
        Meaning of each value, by column.
    codes : dict of str to tuple of str
        Values that stand for missing values, by column.
    states_codes : set of str
        Columns for which the sidecar lists codes of missing values, or an empty list.
    """

    path: Path
    levels: dict[str, dict[str, str]] = field(default_factory=dict)
    codes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    states_codes: set[str] = field(default_factory=set)


def read_sidecar(path: Path, columns: Sequence[str], log: Log) -> Sidecar:
    """Read the sidecar of a table.

    Parameters
    ----------
    path : Path
        JSON file, which may be missing.
    columns : sequence of str
        Columns of the table. Names in the sidecar may differ from them in case.
    log : Log
        Receives a note if the sidecar cannot be read.

    Returns
    -------
    Sidecar
        Empty if the sidecar is missing or cannot be read.
    """
    if not (path.exists() or path.is_symlink()):
        return Sidecar(path)
    try:
        content = read_json(path)
    except CircuitshiftError as error:
        log.notes.append(f"{error}. The sidecar was not used.")
        return Sidecar(path)
    lower = {name.lower(): value for name, value in content.items()}
    levels: dict[str, dict[str, str]] = {}
    codes: dict[str, tuple[str, ...]] = {}
    states_codes: set[str] = set()
    for name in columns:
        about = content.get(name, lower.get(name.lower()))
        if not isinstance(about, Mapping):
            continue
        meanings = _levels(about)
        if meanings:
            levels[name] = meanings
        stated = _stated_codes(about)
        if stated is not None:
            states_codes.add(name)
        missing = [*(stated or ()), *_missing_levels(meanings)]
        if missing:
            codes[name] = tuple(dict.fromkeys(missing))
    return Sidecar(path, levels, codes, states_codes)


def _levels(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the meaning of each value of a column; the text of BIDS terms is their description."""
    levels = next((value for key, value in about.items() if key.lower() == "levels"), None)
    if not isinstance(levels, Mapping):
        return {}
    out = {}
    for value, meaning in levels.items():
        text = meaning
        if isinstance(meaning, Mapping):
            text = meaning.get("Description", meaning.get("LongName", ""))
        if isinstance(text, str | int | float):
            out[str(value).strip()] = str(text).strip()
    return out


def _stated_codes(about: Mapping[str, Any]) -> list[str] | None:
    """Return the codes that keys such as MissingValues list; None without such a key."""
    keys = [key for key in about if re.sub(r"[\W_]+", "", key.lower()) in _CODE_KEYS]
    if not keys:
        return None
    out = []
    for key in keys:
        value = about[key]  # a list, one code, or codes with their meanings
        codes = list(value) if isinstance(value, list | tuple | Mapping) else [value]
        for code in codes:
            if isinstance(code, str | int | float) and not isinstance(code, bool):
                out.append(str(code).strip())
    return out


def _missing_levels(levels: Mapping[str, str]) -> Iterator[str]:
    """Yield the values whose meaning is that the value is missing."""
    for value, meaning in levels.items():
        parts = re.split(r"\s*(?:[,;/|()]|\bor\b)\s*", meaning.lower().replace("n/a", "na"))
        said = [part.strip(" .") for part in parts if part.strip(" .")]
        if said and all(_MEANS_MISSING.fullmatch(part) for part in said):
            yield value


def without_codes(rows: Rows, sidecar: Sidecar, log: Log) -> Rows:
    """Replace codes of missing values by ``n/a``.

    Parameters
    ----------
    rows : Rows
        The table.
    sidecar : Sidecar
        Its sidecar.
    log : Log
        Receives a note for each column that contains such codes.

    Returns
    -------
    Rows
    """
    if not sidecar.codes:
        return rows
    out = []
    replaced: dict[str, list[str]] = {}
    for number, row in rows.rows:
        new = dict(row)
        for name, codes in sidecar.codes.items():
            if name in row and row[name] != NOT_AVAILABLE and _is_code(row[name], codes):
                replaced.setdefault(name, []).append(row[name])
                new[name] = NOT_AVAILABLE
        out.append((number, new))
    for name, values in replaced.items():
        log.notes.append(
            f"{table_name(rows.path)}: values {listed(values)} of column {name} are missing values "
            f"according to {sidecar.path.name}."
        )
    return Rows(rows.path, rows.header, tuple(out))


def _is_code(text: str, codes: Sequence[str]) -> bool:
    """Return whether a cell is one of the codes, as text or as a number."""
    if text in codes:
        return True
    value = parse_number(text)
    return value is not None and value in {parse_number(code) for code in codes}


def levels_of_values(levels: Mapping[str, str], values: Sequence[str]) -> dict[str, str]:
    """Add the meanings of values that differ from a level by case or the form of a number.

    Parameters
    ----------
    levels : mapping of str to str
        Meaning of each level.
    values : sequence of str
        Values of the column, such as ``f`` where the level is ``F``, or ``1.0`` where it is ``1``.

    Returns
    -------
    dict of str to str
        The levels, and those of `values`. A value that may be several levels is omitted.
    """
    out = dict(levels)
    for value in dict.fromkeys(values):
        if value in levels or value == NOT_AVAILABLE:
            continue
        number = parse_number(value)
        same = [
            level
            for level in levels
            if level.casefold() == value.casefold()
            or (number is not None and parse_number(level) == number)
        ]
        if len(same) == 1:
            out[value] = levels[same[0]]
    return out


def unused_levels(
    columns: Mapping[str, Sequence[str]], levels: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the columns whose values are described by none of their levels.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        Values by column.
    levels : mapping of str to mapping
        Meanings by column.

    Yields
    ------
    name : str
        Name of the column.
    values : list of str
        Its most frequent values.
    """
    for name, meanings in levels.items():
        values = Counter(value for value in columns.get(name, ()) if value != NOT_AVAILABLE)
        if values and not set(values) & set(meanings):
            yield name, [value for value, _ in values.most_common(3)]
