"""Consistent formatting of numbers and results in reports; missing values never appear as "nan"."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from circuitshift.pipeline.words import GLOBAL_TERMS, MINUS, with_minus_signs

__all__ = [
    "MISSING",
    "answer",
    "bayes_factor",
    "cell",
    "count",
    "estimate_text",
    "headline",
    "is_below",
    "number",
    "p_value",
    "show",
    "who",
]

MISSING = "not available"
_UNKNOWN = frozenset({"", "n/a", "na", "nan", "none", "null"})


def number(value: object) -> float:
    """Convert a number, a table cell or None to a float; NaN if it is not a number."""
    if value is None or isinstance(value, bool):
        return math.nan
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def show(value: object, digits: int = 2, *, sign: bool = False) -> str:
    """Format a number with a typographic minus sign.

    Parameters
    ----------
    value : object
        A number, a table cell or None.
    digits : int
        Number of decimals.
    sign : bool
        Whether to write a plus sign.

    Returns
    -------
    str
        The number, or `MISSING` if it is not finite.
    """
    numeric = number(value)
    if not math.isfinite(numeric):
        return MISSING
    text = f"{numeric:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = f"{0:.{digits}f}"
    return with_minus_signs(text)


def p_value(value: object) -> str:
    """Format a p value; values below 0.001 are given as a bound."""
    found = number(value)
    if not math.isfinite(found):
        return MISSING
    return "< 0.001" if found < 0.001 else f"{found:.3f}"


def bayes_factor(value: object) -> str:
    """Format a Bayes factor; extreme values are given as a bound."""
    found = number(value)
    if not math.isfinite(found):
        return MISSING
    if found > 1000:
        return "> 1000"
    return "< 0.001" if found < 0.001 else f"{found:.3g}"


def cell(value: object) -> str:
    """Format a table cell: text is unchanged, numbers are rounded."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or str(value).strip().lower() in _UNKNOWN:
        return MISSING
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {cell(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value)) or "none"
    found = number(value)
    if math.isfinite(found) and not isinstance(value, int):
        text = str(value)
        if not text.lstrip("-").isdigit():
            text = f"{found:.4g}"
        return text.replace("-", MINUS)  # also that of an exponent
    return MISSING if math.isinf(found) else with_minus_signs(str(value))


def count(n: int, one: str, many: str = "") -> str:
    """Format a count with its noun, such as ``1 run`` or ``3 runs``."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def is_below(row: Mapping[str, Any], alpha: float) -> bool:
    """Return whether the corrected p of an estimate is below alpha."""
    return number(row.get("p_corrected")) < alpha


def estimate_text(row: Mapping[str, Any]) -> str:
    """Format estimate, interval and corrected p for the margin of a figure."""
    if not math.isfinite(number(row.get("estimate"))):
        return MISSING
    interval = f"[{show(row.get('ci_low'))}, {show(row.get('ci_high'))}]"
    found = p_value(row.get("p_corrected"))
    tail = "" if found == MISSING else f"  p {found}"
    return f"{show(row.get('estimate'), sign=True)} {interval}{tail}"


_MAX_BLOCKS = 6  # pairs of networks that are named; the figure and the table have all

_HEADLINES = {
    "global": "The change is global",
    "circuit-specific": "The change is circuit-specific",
    "both": "The change is both global and circuit-specific",
    "widespread": "The change is widespread and follows no single global law",
    "neither": "Neither a global nor a circuit-specific change",
    "undetermined": "The result is undetermined",
}


def headline(verdict: str) -> str:
    """Return the verdict as a short sentence."""
    return _HEADLINES.get(verdict, verdict)


def who(n: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> str:
    """Return how many participants of each arm were analysed, as a sentence.

    Parameters
    ----------
    n : mapping
        Number of participants of each arm.
    labels : mapping of str to str, optional
        Names of the arms for display, from the study file.

    Returns
    -------
    str
    """
    names = {arm: f" ({name})" for arm, name in (labels or {}).items()}
    treated, control, reference = (int(n.get(k) or 0) for k in ("treated", "control", "reference"))
    participants = count(treated, "treated participant") + names.get("treated", "")
    if control:
        participants += f" and {count(control, 'control participant')}{names.get('control', '')}"
    text = f"{participants} with both visits"
    if not reference:
        return f"{text}."
    return f"{text}, and {count(reference, 'reference participant')}{names.get('reference', '')}."


def answer(verdict: Mapping[str, Any], *, alpha: float) -> list[str]:
    """Describe the findings in plain language, with one sentence per finding.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.
    alpha : float
        Family-wise error rate.

    Returns
    -------
    list of str
        Sentences on global terms, then on circuits, then on effects that were not found.
    """
    versus = " relative to the control arm" if (verdict.get("n") or {}).get("control") else ""
    control = dict((verdict.get("design") or {}).get("labels") or ()).get("control")
    versus += f" ({control})" if versus and control else ""
    other = set(verdict.get("not_claimed") or ())  # significant, but explained otherwise
    terms, circuits = (
        {name: row for name, row in (verdict.get(key) or {}).items() if name not in other}
        for key in ("global", "circuits")
    )
    is_widespread = verdict.get("verdict") == "widespread"
    # where no global law holds, networks are named instead of the coefficients of such a law
    out = (
        _block_words(verdict.get("blocks") or {}, versus, alpha)
        if is_widespread
        else [
            f"{_global_words(term, row)}{versus} ({_evidence(row)})."
            for term, row in _laws(terms, alpha).items()
        ]
    )
    hits = {name: row for name, row in circuits.items() if is_below(row, alpha)}
    out += [_circuit_words(name, row, versus) for name, row in hits.items()]
    out += _absent_words({} if is_widespread else terms, circuits, hits, alpha)
    return out


_TOTALS = ("average_change", "proportional_change")  # changes whose law is not known


def _laws(terms: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    """Return the significant global terms; a change without a law only if no law is known."""
    below = {term: row for term, row in terms.items() if is_below(row, alpha)}
    return {term: row for term, row in below.items() if term not in _TOTALS} or below


def _block_words(blocks: Mapping[str, Any], versus: str, alpha: float) -> list[str]:
    """Name the networks that changed beyond the global model, largest first."""
    below = {name: row for name, row in blocks.items() if is_below(row, alpha)}
    ordered = sorted(below.items(), key=lambda item: -abs(number(item[1].get("estimate"))))
    out = [
        f"{name}: connections {'increased' if number(row.get('estimate')) > 0 else 'decreased'} "
        f"by {show(abs(number(row.get('estimate'))))} Fisher z beyond the global model{versus} "
        f"({_evidence(row)})."
        for name, row in ordered[:_MAX_BLOCKS]
    ]
    if len(ordered) > _MAX_BLOCKS:
        out.append(f"{len(ordered) - _MAX_BLOCKS} more pairs of networks changed beyond it.")
    return out


def smallest_effects(design: Mapping[str, Any]) -> str:
    """List the smallest effects of interest of a study.

    Parameters
    ----------
    design : mapping
        Design that verdict.json records.

    Returns
    -------
    str
        For example ``"shift 0.05 Fisher z, gain 15 %, normalisation 25 % of the deviation,
        circuits 0.3 standard deviations of change"``.
    """
    z = design.get("sesoi_z")
    circuits = (
        f"{show(design.get('sesoi_d', 0.3))} standard deviations of change between participants"
        if z is None
        else f"{show(z)} Fisher z"
    )
    return (
        f"shift {show(0.05 if z is None else z)} Fisher z, "
        f"gain {show(100 * number(design.get('sesoi_gain', 0.15)), 0)} %, "
        f"normalisation {show(100 * number(design.get('sesoi_share', 0.25)), 0)} % of the "
        f"deviation, circuits {circuits}"
    )


def _evidence(row: Mapping[str, Any]) -> str:
    return (
        f"95 % confidence interval {show(row.get('ci_low'))} to {show(row.get('ci_high'))}, "
        f"corrected p {_relation(row.get('p_corrected'))}"
    )


def _relation(p: object) -> str:
    text = p_value(p)
    return text if text.startswith("<") or text == MISSING else f"= {text}"


def _global_words(term: str, row: Mapping[str, Any]) -> str:
    value = number(row.get("estimate"))
    if not math.isfinite(value):
        return f"Global {GLOBAL_TERMS.get(term, term)}: {MISSING}"
    size, percent = show(value, sign=True), show(100 * value, 0, sign=True)
    amplitude = show(100 * math.expm1(value), 0, sign=True)
    either = "and the amplitude of the global signal may both explain"
    words = {
        "shift": f"An average connection outside the predefined circuits changed by {size} "
        "Fisher z",
        "average_change": f"Connections outside the predefined circuits changed by {size} Fisher z "
        f"on average, which a shift {either}",
        "gain": f"Connections changed in proportion to their strength, by {percent} %",
        "proportional_change": "Connections changed in proportion to their strength, by "
        f"{percent} %, which a gain {either}",
        "normalisation": f"{show(100 * value, 0)} % of the difference to the reference group was "
        "closed throughout the brain",
        "global_signal": "Connections changed in the pattern expected from another amplitude of "
        f"the global signal (by {amplitude} %), as after a change of drowsiness, breathing or "
        "sedation",
    }
    return words.get(term, f"Global {term}: {size} {row.get('unit') or ''}".rstrip())


_PREDICTED = {"increase": 1, "decrease": -1}


def _circuit_words(name: str, row: Mapping[str, Any], versus: str) -> str:
    value = number(row.get("estimate"))
    stated = str(row.get("tested", "two-sided"))
    side = _PREDICTED.get(stated if stated != "two-sided" else str(row.get("predicted")))
    toward = ""
    if side is not None:
        same = side * value > 0
        toward = ", in the predicted direction" if same else ", against the predicted direction"
    return (
        f"{row.get('title') or name}: correlations {'increased' if value > 0 else 'decreased'} by "
        f"{show(abs(value))} Fisher z "
        f"beyond the global model{versus}{toward} ({_evidence(row)})."
    )


def _absent_words(
    terms: Mapping[str, Any], circuits: Mapping[str, Any], hits: Mapping[str, Any], alpha: float
) -> list[str]:
    """Describe effects that were not found, and whether a relevant effect can be ruled out."""
    out = []
    if terms and not any(is_below(row, alpha) for row in terms.values()):
        worded = {GLOBAL_TERMS.get(term, term): row for term, row in terms.items()}
        out.append(_not_found("global change", worded))
    rest = {
        str(row.get("title") or name): row
        for name, row in circuits.items()
        if name not in hits and math.isfinite(number(row.get("p")))
    }
    if rest:
        kind = "circuit-specific change" if not hits else "change of another circuit"
        out.append(_not_found(kind, rest))
    opposite = [name for name, row in rest.items() if _is_opposite(row)]
    if opposite:
        out.append(
            f"The interval of {_list(opposite)} excludes 0 on the side that the study file ruled "
            "out in advance, which a one-sided test cannot assess."
        )
    untested = [
        str(row.get("title") or name)
        for name, row in circuits.items()
        if not math.isfinite(number(row.get("p")))
    ]
    if untested:
        out.append(
            f"Not tested because of too few participants or too little coverage: {_list(untested)}."
        )
    return out


def _is_opposite(row: Mapping[str, Any]) -> bool:
    stated = row.get("tested", "two-sided")
    low, high = number(row.get("ci_low")), number(row.get("ci_high"))
    return (stated == "decrease" and low > 0) or (stated == "increase" and high < 0)


def _not_found(kind: str, rows: Mapping[str, Any]) -> str:
    names = [name for name, row in rows.items() if not row.get("ruled_out")]
    start = f"No {kind} was found"
    if not names:
        return f"{start}, and one as large as the smallest effect of interest is ruled out."
    if len(names) == len(rows):
        return (
            f"{start}, but one as large as the smallest effect of interest is not ruled out: "
            "this is not evidence of absence."
        )
    return (
        f"{start}; one as large as the smallest effect of interest is not ruled out for "
        f"{_list(names)}."
    )


def _list(names: Sequence[str], max_names: int = 6) -> str:
    more = f" and {len(names) - max_names} more" if len(names) > max_names else ""
    return ", ".join(names[:max_names]) + more
