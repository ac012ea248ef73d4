"""Read, check and apply filter files (``--bids-filter-file``) in the format of fMRIPrep."""

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from circuitshift.pipeline.bids.entities import ENTITIES
from circuitshift.pipeline.bids.input_types import INPUT_TYPES
from circuitshift.pipeline.bids.names import ORDER, Name
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables

__all__ = ["ANY", "NONE", "Filters", "load_filters", "nearest", "passes_all", "plain_label"]

# For each query, its name and pairs of an entity and the requested value or values.
Filters = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]

NONE = "Query.NONE"  # value of a filter: the entity must be absent
ANY = "Query.ANY"  # value of a filter: the entity must be present, with any value

# fMRIPrep's filter files also use PyBIDS's name of stain, and XCP-D's entity stat.
_LONG_NAMES = {name: key for key, name, _ in ENTITIES} | {"staining": "stain", "statistic": "stat"}
_FILTER_KEYS = {**{key: key for key in ORDER}, **_LONG_NAMES}
_FILTER_QUERIES = (  # queries in filter files of fMRIPrep, sMRIPrep and XCP-D
    *("bold", "t1w", "t2w", "flair", "sbref", "fmap", "roi", "dwi", "pet", "asl", "m0scan"),
    *("anat_brainmask", "t1w_seg", "confounds_raw", "confounds_tsv", "boldref", "mask"),
)
# A filter may state these constant properties of preprocessed runs; other values match nothing.
_FILTER_CONSTANTS = {
    "datatype": ("func",),
    "suffix": tuple(
        dict.fromkeys(suffix for kind in INPUT_TYPES.values() for suffix in kind.suffixes)
    ),
    "extension": tuple(
        text
        for kind in INPUT_TYPES.values()
        for extension in kind.extensions
        for text in (extension, extension[1:])
    ),
}
# res is a label by the schema, but fMRIPrep's are numbers
_NUMBERED = frozenset({"res"} | {key for key, _, form in ENTITIES if form == "index"})


def load_filters(path: Path) -> tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]:
    """Read a filter file in the format of fMRIPrep.

    Parameters
    ----------
    path : Path
        JSON file such as
        ``{"bold": {"task": "rest", "session": ["pre", "post"], "run": [1, 2]}}``. The values
        ``null`` and ``"Query.NONE"`` select files without the entity, ``"*"`` and
        ``"Query.ANY"`` files with any value of it.

    Returns
    -------
    tuple
        ``(("bold", ((entity, value), ...)),)`` for `Query.filters`, or an empty tuple if the file
        has no query ``bold``. Values are text or tuples of text. Queries of other images are
        ignored after their names were checked.

    Raises
    ------
    InputError
        If the file cannot be read, or contains an unknown query or entity.
    """
    content = tables.read_json(path)
    for name in content:
        if name not in _FILTER_QUERIES:
            raise InputError(
                f"{path}: unknown query {name!r}; use bold{nearest(name, _FILTER_QUERIES)}"
            )
    bold_query = content.get("bold")
    if bold_query is None:
        return ()
    if not isinstance(bold_query, dict):
        raise InputError(f"{path}: bold is not an object; write an object of entities and values")
    available = {*_FILTER_KEYS, *_FILTER_CONSTANTS}
    for entity in bold_query:
        if entity not in available:
            raise InputError(
                f"{path}: unknown entity {entity!r} of bold; correct it{nearest(entity, available)}"
            )
    pairs = tuple((entity, _filter_value(path, entity, v)) for entity, v in bold_query.items())
    return (("bold", pairs),)


def _filter_value(path: Path, entity: str, value: object) -> str | tuple[str, ...]:
    """Convert the value of a filter to text, and refuse values that no run can match."""
    items = value if isinstance(value, list) else [value]
    out = []
    for item in items:
        if item is None:
            out.append(NONE)
        elif isinstance(item, str | int | float) and not isinstance(item, bool):
            text = {
                "*": ANY,
                "Query.OPTIONAL": "",
                "Query.REQUIRED": ANY,
                "<Query.NONE: 1>": NONE,
            }.get(str(item), str(item))
            out += [text] if text else [NONE, ANY]
        else:
            raise InputError(
                f'{path}: {entity} is {item!r}; give a label, a list of labels, null or "*"'
            )
    constant = _FILTER_CONSTANTS.get(entity)
    if constant and not set(out) & {*constant, ANY}:
        raise InputError(
            f"{path}: {entity} is {value!r}, which no run has; use one of {', '.join(constant)}"
        )
    return tuple(out) if isinstance(value, list) or len(out) > 1 else out[0]


def passes_all(name: Name, filters: Filters) -> bool:
    """Return whether a file matches the query ``bold``."""
    return all(
        _passes(name.get(_FILTER_KEYS[key]), values, _FILTER_KEYS[key])
        for query, pairs in filters
        if query == "bold"
        for key, values in pairs
        if key not in _FILTER_CONSTANTS
    )


def _passes(label: str, values: object, key: str) -> bool:
    """Return whether a label matches one of the values of a filter; ``1`` matches ``01``."""
    for value in values if isinstance(values, list | tuple) else (values,):
        if value is None or value == NONE:
            if not label:
                return True
        elif value in ("*", ANY):
            if label:
                return True
        else:
            text = plain_label(str(value), key)
            if text == label:
                return True
            digits = key in _NUMBERED and text.isdecimal() and label.isdecimal()
            if digits and int(text) == int(label):
                return True
    return False


def plain_label(label: str, key: str) -> str:
    """Remove the key of an entity from a label, for example ``sub-`` from ``sub-01``."""
    return str(label).removeprefix(f"{key}-")


def nearest(word: str, available: Collection[str]) -> str:
    """Format the words that are most similar to a misspelt word, or all if none is similar."""
    near = difflib.get_close_matches(word, sorted(available), n=3, cutoff=0.5)
    listed = near or sorted(available)[:10]
    return f" ({'nearest' if near else 'available'}: {', '.join(listed)})" if listed else ""
