"""What was done in a study, as its records tell: methods, references, checklist, limits.

No sentence here states a choice that is not read from the record of it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.measure.denoise import denoising_prose
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.references import bibtex, cited, listed
from circuitshift.pipeline.stats.bayes_factor import R_MEDIUM

__all__ = [
    "EDGE_WORDS",
    "StudyMethods",
    "checklist",
    "limits",
    "methods_group",
]

Row = Mapping[str, Any]

#: Words for each estimator of edges.
EDGE_WORDS = {
    "pearson": "Pearson correlations",
    "partial": "partial correlations (Ledoit-Wolf shrunk covariance, "
    "doi:10.1016/S0047-259X(03)00096-4)",
}
_BACKGROUND = {
    "all": "all edges in no tested circuit",
    "disjoint": "edges that share no region with a tested circuit",
    "matched": "edges in no circuit, matched to the circuits in strength and length",
}
_DETECTABLE, _COBIDAS = "doi:10.1177/0193841X9501900504", "doi:10.1038/nn.4500"
_CALLED = re.compile(r"(.+ \d{4}), doi:(\S*\w)$")  # a circuit's reference: Kaiser 2015, doi:...


@dataclass(frozen=True, slots=True)
class StudyMethods:
    """Methods of a study.

    Parameters
    ----------
    text : str
        For a methods section; works are cited as ``doi:...``.
    references : tuple of str
        One line for each of those works, and of those of the atlas and of the circuits.
    bib : str
        The same as BibTeX.
    """

    text: str
    references: tuple[str, ...]
    bib: str


def methods_group(verdict: Row, atlas: Atlas) -> StudyMethods:
    """Describe the analysis that verdict.json records.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.
    atlas : Atlas

    Returns
    -------
    StudyMethods
    """
    parts = (
        _measured(verdict, atlas),
        _participants_list(verdict),
        _model(verdict),
        _inference(verdict),
    )
    text = " ".join(part for part in parts if part)
    circuits = (verdict.get("circuits") or {}).values()
    more = [str(row.get(key) or "") for row in circuits for key in ("reference", "why")]
    works = cited([text, atlas.reference, *more, _DETECTABLE, _COBIDAS])
    called = {m[2]: m[1] for m in map(_CALLED.match, more) if m}
    lines = [
        f"{called[doi]}. {line}" if line == f"doi:{doi}" and doi in called else line
        for doi, line in zip(works, listed(works), strict=True)
    ]
    return StudyMethods(text, tuple(lines), bibtex(works))


def _measured(verdict: Row, atlas: Atlas) -> str:
    settings = AnalysisSettings.from_record(verdict["science"])
    strategy = str(verdict["strategy"])
    source = f" ({atlas.reference})" if atlas.reference else ""
    rules = (
        f"Runs with less than {settings.min_minutes:g} minutes left or a mean framewise "
        f"displacement above {settings.max_mean_fd_mm:g} mm were excluded; regions with signal in "
        f"less than {settings.min_coverage:.0%} of their voxels were treated as missing."
        if strategy != AS_GIVEN
        else f"Runs known to have less than {settings.min_minutes:g} minutes or a mean framewise "
        f"displacement above {settings.max_mean_fd_mm:g} mm were excluded."
    )
    return (
        f"Connectivity was analysed with circuitshift {verdict['versions']['circuitshift']} on the "
        f"{verdict['n_regions']} regions of the atlas {verdict['atlas']}{source}. "
        f"{denoising_prose(strategy, settings)} {rules} "
        f"Edges were {EDGE_WORDS[settings.estimator]} of regional mean series, Fisher-z "
        "transformed; runs of a session were averaged with their residual degrees of freedom as "
        "weights."
    )


def _participants_list(verdict: Row) -> str:
    design, n = verdict["design"], verdict["n"]
    arms = f"{n['treated']} treated" + f" and {n['control']} control" * bool(n["control"])
    reference = f", with {n['reference']} reference people" if n["reference"] else ""
    out = f"Change from ses-{design['baseline']} to ses-{design['followup']} of {arms} people"
    if design.get("control_baseline"):
        out += (
            f" was compared, within person, with that from ses-{design['control_baseline']} to "
            f"ses-{design['control_followup']} (crossover)"
        )
    names = list(verdict.get("covariates") or ())
    said = f"Covariates: {', '.join(names)}." if names else "There were no covariates."
    more = []
    if design.get("harmonise"):
        more.append(
            f"Edges were harmonised over {design['site']} (doi:10.1093/biostatistics/kxj037)."
        )
    if design.get("weighted"):
        more.append("People were weighted by the precision of their change.")
    return " ".join([f"{out}{reference} was analysed. {said}", *more])


def _model(verdict: Row) -> str:
    design = verdict["design"]
    terms = list(verdict.get("global") or {})
    circuits = list(verdict.get("circuits") or {})
    background = _BACKGROUND[design.get("background", "all")]
    if terms:
        law = (
            "For each person a global response model was fitted to background edges "
            f"({background}); its tested terms were: {', '.join(terms)}."
        )
    else:
        law = "Global terms were not tested."
    return (
        f"{law} The response of each of {wording.count(len(circuits), 'circuit')} "
        f"({', '.join(circuits)}) was its mean change beyond that model."
    )


def _inference(verdict: Row) -> str:
    design = verdict["design"]
    fixed = [f"{name} ({side})" for name, side in design.get("directions") or ()]
    sides = (
        f"Tests were two-sided, but for directions fixed beforehand: {', '.join(fixed)}."
        if fixed
        else "Tests were two-sided."
    )
    return (
        f"Coefficients were tested by up to {design['n_permutations']} permutations (seed "
        f"{verdict['seed']}; doi:10.2307/1391660, doi:10.1016/j.neuroimage.2014.01.060) with "
        "family-wise correction by the maximum statistic, over global terms and over circuits, at "
        f"alpha = {design['alpha']:g}. {sides} Equivalence was tested by two one-sided tests "
        f"(doi:10.1007/BF01068419) against a change of {design['sesoi_z']:g} Fisher z of a typical "
        f"edge. Bayes factors are JZS, with a Cauchy prior of scale {R_MEDIUM:.3f} "
        "(doi:10.3758/PBR.16.2.225). "
        "Motion was related to edges over people (QC-FC, doi:10.1016/j.neuroimage.2017.03.020) and "
        "that to their length (doi:10.1016/j.neuroimage.2017.12.073)."
    )


def limits(verdict: Row) -> list[str]:
    """Say what a study of this design cannot show, whatever it found.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.

    Returns
    -------
    list of str
        Sentences.
    """
    n, design = verdict.get("n") or {}, verdict.get("design") or {}
    out = []
    if design.get("control_baseline"):
        out.append(
            "Order and carry-over: whether the order of the two conditions was balanced is not in "
            "the files."
        )
    elif not n.get("control"):
        out.append(
            "Cause: without a control arm, change cannot be attributed to the treatment. Time, "
            "expectation, and being scanned twice change connectivity, too."
        )
    else:
        out.append(
            "Cause: whether people were assigned to the arms at random, and who knew the arm, is "
            "not in the files. Without random assignment the arms may differ in other things."
        )
    if not n.get("reference"):
        out.append(
            "Normalisation: without a reference group nobody can say whether connectivity moved "
            "toward or away from that of healthy people."
        )
    elif design.get("reference_dataset"):
        out.append(
            f"Normalisation: the reference group is another data set "
            f"({design['reference_dataset']}), so its deviation holds differences between scanners."
        )
    if not design.get("symptom"):
        out.append(
            "Benefit: no symptom score was analysed, so change says nothing on getting well."
        )
    else:
        out.append(
            "Benefit: a symptom that goes with change does not show which of them came first."
        )
    if not (verdict.get("quality") or {}).get("qcfc_n_people"):
        out.append("Motion: it is not known, so it cannot be excluded as a cause of change.")
    if not (verdict.get("plan") or {}).get("frozen"):
        out.append("Choices: no plan was frozen, so choices may have been made after seeing data.")
    if verdict.get("circuits_not_resolved"):
        skipped = wording.count(len(verdict["circuits_not_resolved"]), "circuit")
        out.append(f"Coverage: {skipped} could not be found on this atlas and stayed untested.")
    if not design.get("visits"):
        out.append("Time: two visits say nothing on how change came about, or how long it lasts.")
    out.append(
        "Mechanism: connectivity is correlation of blood-oxygen signals; it shows neither "
        "direction nor cause, and a group's result does not hold for single people."
    )
    return out


def checklist(verdict: Row, tests: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Answer what COBIDAS asks to be reported, as far as the files tell.

    Nichols 2017, doi:10.1038/nn.4500; the items that concern an analysis of connectivity.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.
    tests : sequence of mapping
        Rows of tests.tsv.

    Returns
    -------
    list of (str, str, str)
        Topic, item, and the answer; empty when the files do not tell.
    """
    n, design = verdict.get("n") or {}, verdict.get("design") or {}
    settings = verdict.get("science") or {}
    given = verdict.get("strategy") == AS_GIVEN
    counts = ", ".join(f"{n[k]} {k}" for k in ("treated", "control", "reference") if n.get(k))
    missing = (verdict.get("exclusion_by_arm") or {}).get("analysed_and_lost") or {}
    found = (verdict.get("quality") or {}).get("qcfc_median_abs_r")
    plan = verdict.get("plan") or {}
    versions = verdict.get("versions") or {}
    of_circuits = [row for row in tests if row.get("family") == "specific"]
    rows = (
        ("Participants", "Number analysed, by group", counts),
        ("Participants", "Number lost, by group", _pairs({k: v[1] for k, v in missing.items()})),
        ("Participants", "Inclusion and exclusion criteria, consent, demographics, diagnosis", ""),
        ("Design", "Visits compared", _visits(design)),
        ("Design", "Random assignment and blinding", ""),
        ("Design", "Sample size and its justification", _power(of_circuits)),
        ("Acquisition", "Scanner, sequence, repetition time, instructions", ""),
        ("Preprocessing", "Software and steps before denoising", ""),
        ("Preprocessing", "Denoising", "" if given else str(verdict.get("strategy") or "")),
        ("Preprocessing", "Exclusion of data", "" if given else _thresholds(settings)),
        (
            "Preprocessing",
            "Residual relation to motion",
            _number_or_nothing(found, "median |r| = "),
        ),
        ("Modelling", "Regions", _regions(verdict)),
        (
            "Modelling",
            "Dependent variable",
            EDGE_WORDS.get(str(settings.get("estimator")), "").split(" (")[0],
        ),
        ("Modelling", "Hypotheses stated as circuits", ", ".join(verdict.get("circuits") or {})),
        ("Modelling", "Covariates", ", ".join(verdict.get("covariates") or ()) or "none"),
        ("Inference", "Test and correction", _method(of_circuits)),
        (
            "Inference",
            "Smallest effect of interest",
            f"{wording.show(design.get('sesoi_z'))} Fisher z",
        ),
        ("Inference", "Plan frozen beforehand", str(plan.get("sentence") or "")),
        ("Results", "Estimates with intervals for every test", "tests.tsv" if tests else ""),
        ("Reproducibility", "Software", _pairs(versions)),
        ("Reproducibility", "Code, settings and seed", _hashes(verdict)),
        ("Reproducibility", "Where data and code can be had", ""),
    )
    return list(rows)


def _number_or_nothing(value: object, start: str) -> str:
    """Return words and a number, or nothing when it is not known."""
    text = wording.show(value)
    return "" if text == wording.MISSING else f"{start}{text}"


def _pairs(content: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in content.items())


def _visits(design: Row) -> str:
    if not design.get("baseline"):
        return ""
    words = f"ses-{design['baseline']} and ses-{design['followup']}"
    if design.get("control_baseline"):
        words += f"; control: ses-{design['control_baseline']}, ses-{design['control_followup']}"
    return words


def _power(rows: Sequence[Row]) -> str:
    available = [v for row in rows if (v := wording.number(row.get("detectable_family"))) > 0]
    if not available:
        return ""
    return (
        f"detectable with 80 % power: {wording.show(min(available))} to "
        f"{wording.show(max(available))} "
        "Fisher z, by circuit"
    )


def _thresholds(settings: Row) -> str:
    if "min_minutes" not in settings:
        return ""
    return (
        f"at least {settings['min_minutes']:g} minutes, mean framewise displacement at most "
        f"{settings['max_mean_fd_mm']:g} mm, coverage at least {settings['min_coverage']:.0%}"
    )


def _regions(verdict: Row) -> str:
    if "atlas" not in verdict:
        return ""
    return f"{verdict.get('n_regions')} of {verdict['atlas']}"


def _method(rows: Sequence[Row]) -> str:
    return "; ".join(dict.fromkeys(str(row.get("method") or "") for row in rows))


def _hashes(verdict: Row) -> str:
    names = ("code_hash", "science_hash", "seed")
    return ", ".join(f"{k.replace('_', ' ')} {verdict[k]}" for k in names if k in verdict)
