"""Section of the page of a meta-analysis: methods text."""

from collections.abc import Iterator

from circuitshift.pipeline.reports.blocks import Block, Prose, Quote
from circuitshift.pipeline.study.pooling.pool import PooledAnalysis

__all__ = ["methods_section"]


def methods_section(analysis: PooledAnalysis) -> Iterator[Block | None]:
    """Show a text for the methods section of an article.

    Parameters
    ----------
    analysis : PooledAnalysis

    Yields
    ------
    Block or None
    """
    yield Quote(
        f"Estimates of {len(analysis.studies)} studies, analysed separately with circuitshift, "
        "were combined by random-effects meta-analysis. The variance of true effects was "
        "estimated by restricted maximum likelihood (Viechtbauer 2005, "
        "doi:10.3102/10769986030003261). Confidence intervals and tests of the mean used the "
        "method of Hartung, Knapp, Sidik and Jonkman (doi:10.1002/sim.791, doi:10.1002/sim.1262) "
        "with k - 1 degrees of freedom; its variance factor was not allowed to be below 1 "
        "(doi:10.1186/s12874-015-0091-1). Intervals of the variance were computed by the Q profile "
        "method (Viechtbauer 2007, doi:10.1002/sim.2514), and prediction intervals from a t "
        "distribution with k - 1 degrees of freedom. P values were corrected by Holm's method "
        "within global terms, primary and secondary circuits. Circuits were pooled as residual "
        "change beyond the global model with their sampling standard errors; a second test "
        "compares them with the variation over pairs of networks. Standardised effects are in "
        "units of the smallest effect of interest."
    )
    yield Prose(
        "Sampling variances are treated as known, although they are estimated. Only studies that "
        "are given are combined; publication bias cannot be assessed with few studies.",
        "soft",
    )
