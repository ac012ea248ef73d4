"""Write the results of a meta-analysis as tables and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.provenance import code_hash, versions
from circuitshift.pipeline.stats.pooling.random_effects import MeanEffect
from circuitshift.pipeline.study.pooling.comparable import contrast_of
from circuitshift.pipeline.study.pooling.finished import FinishedStudy
from circuitshift.pipeline.study.pooling.pool import PooledAnalysis, PooledTerm
from circuitshift.pipeline.study.tables import write_rows

__all__ = ["SCHEMA_VERSION", "SESOI", "pool_content", "write_pool"]

#: Version of the keys of pool.json (docs/pool.md). The first number changes when a key is removed
#: or changes its meaning, the second when keys are added.
SCHEMA_VERSION = "1.0"
#: Unit of standardised effects.
SESOI = "smallest effect of interest"

_EFFECT = {
    "estimate": "Mean of the true effects (random effects, REML), in `unit`",
    "se": "Standard error with the factor of Hartung and Knapp, which is at least 1",
    "df": "Degrees of freedom, number of studies minus 1",
    "statistic": "t",
    "p": "Two-sided p value, uncorrected",
    "ci_low": "Lower end of the 95 % confidence interval of the mean (Hartung, Knapp, Sidik and "
    "Jonkman)",
    "ci_high": "Upper end of the 95 % confidence interval of the mean",
    "pi_low": "Lower end of the 95 % prediction interval of the true effect in a new study",
    "pi_high": "Upper end of the 95 % prediction interval",
    "scale": "Factor of Hartung and Knapp on the variance of the mean, before the safeguard",
    "safeguarded": "Whether the factor was below 1 and 1 was used",
    "tau2": "Variance of the true effects over studies (REML), in squared `unit`",
    "tau2_low": "Lower end of the 95 % confidence interval of tau2 (Q profile)",
    "tau2_high": "Upper end of the 95 % confidence interval of tau2",
    "i2": "Share of the total variance that is due to differences between studies, 0 to 1",
    "i2_low": "Lower end of the 95 % confidence interval of i2",
    "i2_high": "Upper end of the 95 % confidence interval of i2",
    "h2": "Total variance relative to the typical sampling variance",
    "q": "Cochran's Q",
    "q_p": "p value of the test that all true effects are equal",
}
_POOLED = {
    "term": "Global term or circuit",
    "family": "Tests that are corrected together: global terms, primary or secondary circuits",
    "scale_of": "feature: unit of the feature; interest: units of the smallest effect of interest",
    "unit": "Unit of effects and intervals",
    "k": "Number of studies that have an estimate",
    "missing": "Studies without an estimate",
    **_EFFECT,
    "tau": "Standard deviation of the true effects over studies, in `unit`",
    "p_corrected": "p value, corrected for the tests of the family (Holm)",
    "bound": "Smallest effect of interest, in `unit`; n/a if it differs between studies",
    "equivalence_p": "p of two one-sided tests that the mean is smaller than the smallest effect "
    "of interest",
    "networks_sd": "Standard deviation of change over pairs of networks that all studies may share",
    "networks_p": "p of the test that a circuit changed more than pairs of networks do",
    "remark": "Why a result is missing",
}
_STUDIES = {
    "term": "Global term or circuit",
    "study": "Name of the study",
    "unit": "Unit of estimate and se",
    "estimate": "Estimate of the study, in `unit`; residual change for circuits",
    "se": "Standard error of sampling, in `unit`",
    "ci_low": "Lower end of the 95 % confidence interval of the study",
    "ci_high": "Upper end of the 95 % confidence interval of the study",
    "network_sd": "Standard deviation of the estimate due to the variation over pairs of networks",
    "standard": "Estimate in units of the smallest effect of interest",
    "standard_se": "Standard error of `standard`",
    "weight": "Share in the pooled estimate, 0 to 1",
    "n": "Number of treated participants (all participants in one-arm studies)",
    "n_control": "Number of participants in the control arm",
    "missing": "Why there is no estimate",
}
_LEFT_OUT = {
    "term": "Global term or circuit",
    "left_out": "Study that is left out",
    "unit": "Unit of effects and intervals",
    **{
        name: text
        for name, text in _EFFECT.items()
        if name in ("estimate", "se", "p", "ci_low", "ci_high", "tau2", "i2")
    },
}
_DIFFERENCES = {
    "setting": "Setting that differs between studies",
    "study": "Name of the study",
    "value": "Value in this study",
    "consequence": "warning: see the warnings in pool.json; listed: differs without a warning",
}


def write_pool(folder: Path, analysis: PooledAnalysis) -> Path:
    """Write all tables of a meta-analysis, and ``pool.json``.

    Parameters
    ----------
    folder : Path
        Folder to write to.
    analysis : PooledAnalysis
        Result of the meta-analysis.

    Returns
    -------
    Path
        The JSON file.
    """
    write_rows(folder / "pooled.tsv", list(pooled_rows(analysis.terms)), _POOLED)
    write_rows(folder / "studies.tsv", list(_study_rows(analysis.terms)), _STUDIES)
    write_rows(folder / "leave_one_out.tsv", list(_left_out_rows(analysis.terms)), _LEFT_OUT)
    write_rows(folder / "differences.tsv", list(_difference_rows(analysis)), _DIFFERENCES)
    content = pool_content(analysis)
    names = ("pooled.tsv", "studies.tsv", "leave_one_out.tsv", "differences.tsv")
    content["files"] = {name: tables.checksum(folder / name) for name in names}
    path = folder / "pool.json"
    tables.write_json(path, content)
    return path


def _effect_columns(effect: MeanEffect | None) -> dict[str, object]:
    return {name: getattr(effect, name, None) for name in (*_EFFECT, "tau")}


def pooled_rows(terms: Sequence[PooledTerm]) -> Iterator[dict[str, object]]:
    """Yield the rows of ``pooled.tsv``: two for each term, in two units.

    Parameters
    ----------
    terms : sequence of PooledTerm
        Terms of the meta-analysis.

    Yields
    ------
    dict of str to object
        Values by column.
    """
    for term in terms:
        missing = [each.study for each in term.contributions if each.missing]
        shared = {
            "term": term.term,
            "family": term.family,
            "k": len(term.present),
            "missing": ", ".join(missing) or None,
            "p_corrected": term.p_corrected,
            "remark": term.remark,
            "equivalence_p": term.equivalence_p,
        }
        networks = term.networks
        yield (
            shared
            | _effect_columns(term.effect)
            | {
                "scale_of": "feature",
                "unit": term.unit,
                "bound": term.bound,
                "networks_sd": networks.sd if networks else None,
                "networks_p": networks.p if networks else None,
            }
        )
        yield (
            shared
            | _effect_columns(term.standard)
            | {
                "scale_of": "interest",
                "unit": SESOI,
                "bound": 1.0,
                "networks_sd": None,
                "networks_p": None,
                "p_corrected": None,  # the test is that of the other row
            }
        )


def _study_rows(terms: Sequence[PooledTerm]) -> Iterator[dict[str, object]]:
    for term in terms:
        for each in term.contributions:
            variance = each.network_variance
            yield {
                **asdict(each),
                "term": term.term,
                "unit": term.unit,
                "network_sd": variance**0.5,
                "n": None if each.missing else each.n,
                "n_control": None if each.missing else each.n_control,
            }


def _left_out_rows(terms: Sequence[PooledTerm]) -> Iterator[dict[str, object]]:
    for term in terms:
        for each, effect in zip(term.present, term.left_out, strict=False):
            yield {
                **_effect_columns(effect),
                "term": term.term,
                "left_out": each.study,
                "unit": term.unit,
            }


def _difference_rows(analysis: PooledAnalysis) -> Iterator[dict[str, object]]:
    for difference in analysis.comparison.differences:
        for study, value in zip(analysis.studies, difference.values, strict=True):
            yield {
                "setting": difference.setting,
                "study": study.name,
                "value": value,
                "consequence": difference.consequence,
            }


def pool_content(analysis: PooledAnalysis) -> dict[str, Any]:
    """Return the content of ``pool.json``, except the hashes of the tables.

    Parameters
    ----------
    analysis : PooledAnalysis
        Result of the meta-analysis.

    Returns
    -------
    dict
        JSON content.
    """
    comparison = analysis.comparison
    return {
        "schema_version": SCHEMA_VERSION,
        "studies": [_study(study) for study in analysis.studies],
        "warnings": list(comparison.warnings),
        "differences": [asdict(difference) for difference in comparison.differences],
        "terms": {term.term: _term(term) for term in analysis.terms},
        "versions": versions(),
        "code_hash": code_hash(__name__),
    }


def _study(study: FinishedStudy) -> dict[str, Any]:
    verdict = study.verdict
    return {
        "name": study.name,
        "folder": str(study.folder),
        "contrast": contrast_of(study),
        "verdict": verdict.get("verdict"),
        "sentence": verdict.get("sentence"),
        "n": verdict.get("n"),
        "atlas": verdict.get("atlas"),
        "strategy": verdict.get("strategy"),
        "warnings": verdict.get("warnings"),
        "settings_hash": verdict.get("settings_hash"),
        "made_from": verdict.get("made_from"),
        "code_hash": verdict.get("code_hash"),
    }


def _term(term: PooledTerm) -> dict[str, Any]:
    def effect(found: MeanEffect | None) -> Mapping[str, Any] | None:
        return asdict(found) | {"tau": found.tau} if found else None

    return {
        "title": term.title,
        "family": term.family,
        "unit": term.unit,
        "effect": effect(term.effect),
        "in_smallest_effects": effect(term.standard),
        "bound": term.bound,
        "p_corrected": term.p_corrected,
        "equivalence_p": term.equivalence_p,
        "networks": term.networks._asdict() if term.networks else None,
        "studies": [asdict(each) for each in term.contributions],
        "remark": term.remark,
    }
