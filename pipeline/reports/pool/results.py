"""Sections of the page of a meta-analysis: results, forest plots, heterogeneity, influence."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Box,
    Details,
    Figure,
    Items,
    PageTable,
    Prose,
)
from circuitshift.pipeline.reports.wording import show
from circuitshift.pipeline.stats.pooling.random_effects import MeanEffect
from circuitshift.pipeline.study.pooling.pool import Contribution, PooledAnalysis, PooledTerm
from circuitshift.pipeline.words import join_names

if TYPE_CHECKING:
    from circuitshift.pipeline.reports.figures.pooled import PooledRow, StudyRow

__all__ = [
    "circuits_section",
    "global_section",
    "heterogeneity_section",
    "influence_section",
    "result_section",
]

_ALPHA = 0.05


def is_significant(term: PooledTerm) -> bool:
    """Return whether the corrected p value of a pooled term is below .05."""
    return term.p_corrected < _ALPHA


def is_ruled_out(term: PooledTerm) -> bool:
    """Return whether an effect as large as the smallest effect of interest is ruled out."""
    effect = term.standard
    return (
        effect is not None and term.equivalence_p < _ALPHA and effect.ci_low <= 0 <= effect.ci_high
    )


def _interval(low: float, high: float, digits: int = 3) -> str:
    return f"{show(low, digits)} to {show(high, digits)}"


def _p(value: float) -> str:
    text = wording.p_value(value)
    return text if text.startswith("<") or text == wording.MISSING else f"= {text}"


def _percent(share: float) -> str:
    return f"{show(100 * share, 0)} %"


# -- result ---------------------------------------------------------------------------------------


def result_section(analysis: PooledAnalysis) -> Iterator[Block | None]:
    """Show the mean effects in words, the warnings, and the effects of all terms on one axis.

    Parameters
    ----------
    analysis : PooledAnalysis

    Yields
    ------
    Block or None
    """
    sentences = answer(analysis.terms)
    yield Box("answer", (Prose(sentences[0], "strong"), *map(Prose, sentences[1:])))
    warnings = analysis.comparison.warnings
    if warnings:
        yield Box("warn", (Prose("Reasons for caution", "strong"), Items(warnings)))
    yield overview(analysis.terms)


def answer(terms: Sequence[PooledTerm]) -> list[str]:
    """Describe the results of the global terms and the primary circuits.

    Parameters
    ----------
    terms : sequence of PooledTerm
        All terms of the meta-analysis.

    Returns
    -------
    list of str
        The significant terms, the numbers of each of them, and sentences about the others.
    """
    decisive = [term for term in terms if term.family != "secondary"]
    pooled = [term for term in decisive if term.effect is not None]
    hits = [term for term in pooled if is_significant(term)]
    out = [_effect_sentence(term, term.effect) for term in hits if term.effect]
    if hits:
        out.insert(
            0, f"Changed on average over studies: {join_names([term.title for term in hits])}."
        )
    rest = [term for term in pooled if term not in hits]
    excluded = [term.title for term in rest if is_ruled_out(term)]
    unknown = [term.title for term in rest if not is_ruled_out(term)]
    if not hits:
        out.append("No mean effect differs from zero after correction for the number of tests.")
    if excluded:
        out.append(
            f"A mean effect as large as the smallest effect of interest is ruled out for "
            f"{join_names(excluded)}."
        )
    if unknown:
        out.append(
            f"Neither an effect nor its absence is shown for {join_names(unknown)}: this is not "
            "evidence of absence."
        )
    missing = [term.title for term in decisive if term.effect is None]
    if missing:
        out.append(
            f"Not pooled, because fewer than two studies have an estimate: {join_names(missing)}."
        )
    return out


def _effect_sentence(term: PooledTerm, effect: MeanEffect) -> str:
    what = "residual change" if term.family != "global" else "mean"
    text = (
        f"{term.title}: {what} {show(effect.estimate, 3, sign=True)} {term.unit} over {effect.k} "
        f"studies (95 % confidence interval {_interval(effect.ci_low, effect.ci_high)}, corrected "
        f"p {_p(term.p_corrected)}). In a new study, an effect between "
        f"{show(effect.pi_low, 3)} and {show(effect.pi_high, 3)} is expected "
        "(95 % prediction interval)."
    )
    if term.networks is not None:
        more = "more" if term.networks.p < _ALPHA else "not detectably more"
        text += f" The circuit changed {more} than pairs of networks do (p {_p(term.networks.p)})."
    return text


def overview(terms: Sequence[PooledTerm]) -> Figure | None:
    """Draw all terms in units of the smallest effect of interest.

    Parameters
    ----------
    terms : sequence of PooledTerm
        All terms of the meta-analysis.

    Returns
    -------
    Figure or None
        None if no term has a result in this unit.
    """
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415 - matplotlib

    shown = [term for term in terms if term.standard is not None]
    if not shown:
        return None
    rows = [
        _pooled_row(term.title, term.standard, digits=2, hit=is_significant(term)) for term in shown
    ]
    svg = figures.pooled_overview(
        rows,
        key="overview",
        alt="Mean effects in units of the smallest effect of interest: "
        + "; ".join(f"{row.name} {row.text}" for row in rows),
    )
    return Figure(
        svg,
        "Mean effects of all terms in units of the smallest effect of interest, with 95 % "
        "confidence intervals (diamonds) and 95 % prediction intervals (dotted lines). Shaded: "
        "effects smaller than the smallest effect of interest.",
    )


def _pooled_row(name: str, effect: MeanEffect | None, *, digits: int, hit: bool) -> "PooledRow":
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415 - matplotlib

    if effect is None:
        nan = math.nan
        return figures.PooledRow(name, nan, nan, nan, nan, nan, text="")
    text = (
        f"{show(effect.estimate, digits, sign=True)} "
        f"[{show(effect.ci_low, digits)}, {show(effect.ci_high, digits)}]"
    )
    return figures.PooledRow(
        name, effect.estimate, effect.ci_low, effect.ci_high, effect.pi_low, effect.pi_high,
        text, hit,
    )  # fmt: skip


# -- forest plots ---------------------------------------------------------------------------------


def global_section(analysis: PooledAnalysis) -> Iterator[Block | None]:
    """Show the meta-analysis of each global term.

    Parameters
    ----------
    analysis : PooledAnalysis

    Yields
    ------
    Block or None
    """
    terms = [term for term in analysis.terms if term.family == "global"]
    if not terms:
        yield Prose(
            "No study has global terms. They are not tested after global signal regression."
        )
        return
    yield Prose(
        "Changes that one law describes over all connections outside the circuits. Average and "
        "proportional change are the shift and the gain of a model without a term for the "
        "amplitude of the global signal."
    )
    for term in terms:
        yield _forest(term)
    yield Details("Numbers", (results_table(terms, "Global terms"),))


def circuits_section(analysis: PooledAnalysis) -> Iterator[Block | None]:
    """Show the meta-analysis of each circuit.

    Parameters
    ----------
    analysis : PooledAnalysis

    Yields
    ------
    Block or None
    """
    yield Prose(
        "Residual change of each circuit, beyond the prediction of the global model of each study."
    )
    for family in ("primary", "secondary"):
        terms = [term for term in analysis.terms if term.family == family]
        if terms:
            figures = tuple(figure for term in terms if (figure := _forest(term)) is not None)
            if family == "primary":
                yield from figures
            else:
                yield Details("Secondary circuits", figures)
            yield Details(
                f"Numbers of {family} circuits",
                (results_table(terms, f"{family.capitalize()} circuits"),),
            )


def _forest(term: PooledTerm) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415 - matplotlib

    rows = [_study_row(each) for each in term.contributions]
    mean = _pooled_row("Mean", term.effect, digits=3, hit=is_significant(term))
    svg = figures.study_forest(
        rows,
        mean,
        bound=term.bound,
        unit=f"{term.title}, {term.unit}" if term.unit else term.title,
        key=f"forest-{''.join(c if c.isalnum() else '-' for c in term.term)}",
        alt=f"Estimates of {term.title} in each study: "
        + "; ".join([*(f"{row.name} {row.text}" for row in rows), f"{mean.name} {mean.text}"]),
    )
    return Figure(svg, _caption(term))


def _study_row(each: Contribution) -> "StudyRow":
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415 - matplotlib

    text = "no estimate (see table)"
    if not each.missing:
        text = (
            f"{show(each.estimate, 3, sign=True)} [{show(each.ci_low, 3)}, {show(each.ci_high, 3)}]"
        )
        if math.isfinite(each.weight):
            text += f"  {_percent(each.weight)}"
    return figures.StudyRow(each.study, each.estimate, each.ci_low, each.ci_high, each.weight, text)


def _caption(term: PooledTerm) -> str:
    missing = [f"{each.study}: {each.missing}" for each in term.contributions if each.missing]
    text = f"{term.title[:1].upper()}{term.title[1:]}. "
    if term.effect is None:
        text += f"Not pooled: {term.remark}. "
    else:
        text += (
            "Squares: studies with their 95 % intervals and their share in the mean. Diamond: "
            "mean with its 95 % confidence interval (Hartung-Knapp). Dotted: 95 % prediction "
            "interval. "
        )
    if missing:
        text += f"Without an estimate: {'; '.join(missing)}."
    return text.strip()


def results_table(terms: Sequence[PooledTerm], caption: str) -> PageTable:
    """Return the numbers of pooled terms, in both units.

    Parameters
    ----------
    terms : sequence of PooledTerm
        Terms of the table.
    caption : str
        Text above the table.

    Returns
    -------
    PageTable
    """
    head = (
        "term", "studies", "unit", "mean", "95 % CI", "95 % PI", "t (df)", "p", "corrected p",
        "equivalence p", "p against networks",
    )  # fmt: skip
    rows = []
    for term in terms:
        networks = wording.p_value(term.networks.p) if term.networks else wording.MISSING
        for effect, unit in ((term.effect, term.unit), (term.standard, "smallest effects")):
            is_own = effect is term.effect
            cells = [wording.MISSING] * 5
            if effect is not None:
                cells = [
                    show(effect.estimate, 3, sign=True),
                    _interval(effect.ci_low, effect.ci_high),
                    _interval(effect.pi_low, effect.pi_high),
                    f"{show(effect.statistic)} ({show(effect.df, 0)})",
                    wording.p_value(effect.p),
                ]
            last = (
                [wording.p_value(term.p_corrected), "", networks]
                if is_own
                else ["", wording.p_value(term.equivalence_p), ""]
            )
            rows.append([term.title, str(len(term.present)), unit, *cells, *last])
    return PageTable(caption, head, rows)


# -- heterogeneity --------------------------------------------------------------------------------


def heterogeneity_section(analysis: PooledAnalysis) -> Iterator[Block | None]:
    """Show how much true effects differ between studies.

    Parameters
    ----------
    analysis : PooledAnalysis

    Yields
    ------
    Block or None
    """
    terms = [(term, term.effect) for term in analysis.terms if term.effect is not None]
    if not terms:
        return
    yield Prose(
        "tau is the standard deviation of the true effects over studies. I² is the share of the "
        "variance of estimates that is due to these differences; it depends on the size of the "
        "studies and does not state how large the differences are. With few studies, both are "
        "hardly known, as their intervals show."
    )
    rows = []
    for term, effect in terms:
        rows.append(
            [
                term.title,
                term.unit,
                f"{show(effect.tau, 3)} ({_interval(*_tau_limits(effect))})",
                f"{_percent(effect.i2)} ({_percent(effect.i2_low)} to {_percent(effect.i2_high)})",
                show(effect.h2),
                f"{show(effect.q)} ({show(effect.df, 0)})",
                wording.p_value(effect.q_p),
                f"{show(effect.scale)}{' (1 used)' if effect.safeguarded else ''}",
            ]
        )
    head = (
        "term", "unit", "tau (95 % CI)", "I² (95 % CI)", "H²", "Q (df)", "p of Q",
        "Hartung-Knapp factor",
    )  # fmt: skip
    yield PageTable("Variation of true effects over studies", head, rows)


def _tau_limits(effect: MeanEffect) -> tuple[float, float]:
    return math.sqrt(effect.tau2_low), math.sqrt(effect.tau2_high)


def influence_section(analysis: PooledAnalysis) -> Iterator[Block | None]:
    """Show the results without each study.

    Parameters
    ----------
    analysis : PooledAnalysis

    Yields
    ------
    Block or None
    """
    rows = []
    changed = []
    for term in analysis.terms:
        if term.family == "secondary" or term.effect is None:
            continue
        for each, effect in zip(term.present, term.left_out, strict=False):
            rows.append(
                [
                    term.title,
                    each.study,
                    show(effect.estimate, 3, sign=True),
                    _interval(effect.ci_low, effect.ci_high),
                    wording.p_value(effect.p),
                    show(effect.tau, 3),
                ]
            )
            if (effect.p < _ALPHA) != (term.effect.p < _ALPHA):
                changed.append(f"{term.title} without {each.study}: p {_p(effect.p)}")
    if not rows:
        return
    if changed:
        yield Prose("The uncorrected test depends on single studies:")
        yield Items(changed)
    else:
        yield Prose("No single study decides whether an uncorrected test is significant.")
    head = ("term", "without", "mean", "95 % CI", "p", "tau")
    yield Details("Numbers", (PageTable("Results without each study", head, rows),))
