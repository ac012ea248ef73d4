"""Section of the study report: methods, references, checklist and provenance.

The text states only choices that are read from the record of the analysis.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.measure.denoise import denoising_prose
from circuitshift.pipeline.measure.visits.combine import combining_prose
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Cell,
    Heading,
    Items,
    Link,
    PageTable,
    Pairs,
    Prose,
    Quote,
    Words,
)
from circuitshift.pipeline.reports.references import bibtex, cited, listed
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.stats.bayes_factor import R_MEDIUM
from circuitshift.pipeline.words import GLOBAL_TERMS

__all__ = [
    "EDGE_WORDS",
    "StudyMethods",
    "checklist",
    "methods_group",
    "methods_section",
]

Row = Mapping[str, Any]

#: Description of each estimator of edges.
EDGE_WORDS = {
    "pearson": "Pearson correlations",
    "partial": "partial correlations (Ledoit-Wolf shrunk covariance, "
    "doi:10.1016/S0047-259X(03)00096-4)",
}
_BACKGROUND = {
    "all": "all edges outside the tested circuits",
    "disjoint": "edges that share no region with a tested circuit",
    "matched": "edges outside all circuits, matched to the circuits in strength and length",
}
_DETECTABLE, _COBIDAS = "doi:10.1177/0193841X9501900504", "doi:10.1038/nn.4500"


@dataclass(frozen=True, slots=True)
class StudyMethods:
    """Methods of a study.

    Parameters
    ----------
    text : str
        Text for the methods section of an article; works are cited as ``doi:...``.
    references : tuple of str
        One line for each work that the text, the atlas or the circuits cite.
    bib : str
        The same works as BibTeX.
    """

    text: str
    references: tuple[str, ...]
    bib: str


def methods_section(report: StudyReport) -> Iterator[Block | None]:
    """Show the methods text, its references, the COBIDAS checklist, and the provenance.

    Parameters
    ----------
    report : StudyReport

    Yields
    ------
    Block or None
    """
    yield Quote(report.methods)
    if report.references:
        yield Heading("References")
        yield Items(report.references, ordered=True)
    yield Heading("COBIDAS checklist")
    yield Prose(
        f"Completed from the files of this analysis (Nichols 2017, {_COBIDAS}). Items that the "
        "files do not contain are to be completed by the authors."
    )
    yield _checklist_table(report)
    if report.files:
        yield Heading("Source files of this report")
        yield Items([_file_line(name, columns) for name, columns in report.files.items()])
    yield Heading("Provenance")
    yield Pairs(_provenance(report.verdict))


def _checklist_table(report: StudyReport) -> PageTable:
    missing = Cell("not in the files; to be stated by the authors", "open")
    rows = [
        (item, Cell(topic, "nowrap"), answer or missing)
        for topic, item, answer in checklist(report.verdict, report.tests)
    ]
    caption = "COBIDAS items for an analysis of connectivity"
    return PageTable(caption, ("Item", "Topic", "Answer"), rows, style="text")


def _file_line(name: str, columns: Sequence[str]) -> Words:
    return (Link(name, name), f": {', '.join(columns)}") if columns else (Link(name, name),)


#: Meaning of those parts of the design that the study file does not state.
_UNSTATED = {
    "circuits": "all circuits that the atlas resolves",
    "covariates": "none stated; the methods text lists the covariates that were used",
    "directions": "none stated, so all tests are two-sided",
}


def _provenance(verdict: Row) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = [
        (f"version of {name}", str(version))
        for name, version in (verdict.get("versions") or {}).items()
    ]
    for key in (
        "inputs_hash",
        "settings_hash",
        "code_hash",
        "seed",
        "atlas",
        "n_regions",
        "strategy",
    ):
        if key in verdict:
            out.append((key.replace("_", " "), wording.cell(verdict[key])))
    for part in ("design", "settings"):
        for name, value in (verdict.get(part) or {}).items():
            words = _UNSTATED.get(name, "") if part == "design" and not value else ""
            out.append((f"{part}: {name}", words or wording.cell(value)))
    return out


def methods_group(verdict: Row, atlas: Atlas) -> StudyMethods:
    """Write the methods text of the analysis that verdict.json records.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.
    atlas : Atlas
        Atlas of the analysis.

    Returns
    -------
    StudyMethods
    """
    parts = (
        _measured(verdict, atlas),
        _participants_list(verdict),
        _model(verdict),
        _heterogeneity(verdict),
        _inference(verdict),
    )
    text = " ".join(part for part in parts if part)
    circuits = (verdict.get("circuits") or {}).values()
    more = [str(row.get(key) or "") for row in circuits for key in ("reference", "why")]
    texts = [text, atlas.reference, *more, _DETECTABLE, _COBIDAS]
    works = cited(texts)
    return StudyMethods(text, tuple(listed(works, texts)), bibtex(works))


def _measured(verdict: Row, atlas: Atlas) -> str:
    settings = AnalysisSettings.from_record(verdict["settings"])
    strategy = str(verdict["strategy"])
    source = f" ({atlas.reference})" if atlas.reference else ""
    rules = (
        f"Runs with less than {settings.min_minutes:g} minutes retained or a mean framewise "
        f"displacement above {settings.max_mean_fd_mm:g} mm were excluded; regions with signal in "
        f"less than {settings.min_coverage:.0%} of their voxels were treated as missing."
        if strategy != AS_GIVEN
        else f"Runs with a recorded duration of less than {settings.min_minutes:g} minutes, "
        f"or a recorded mean framewise displacement above {settings.max_mean_fd_mm:g} mm, were "
        "excluded."
    )
    return (
        f"Connectivity was analysed with circuitshift {verdict['versions']['circuitshift']} on the "
        f"{verdict['n_regions']} regions of the atlas {verdict['atlas']}{source}. "
        f"{denoising_prose(strategy, settings)} {rules} "
        f"Edges were {EDGE_WORDS[settings.estimator]} of regional mean series, Fisher-z "
        f"transformed; {combining_prose(settings)}."
    )


def _participants_list(verdict: Row) -> str:
    design, n = verdict["design"], verdict["n"]
    labels = {arm: f" ({name})" for arm, name in design.get("labels") or ()}
    arms = f"{n['treated']} treated{labels.get('treated', '')}"
    arms += f" and {n['control']} control{labels.get('control', '')}" * bool(n["control"])
    reference = f", with {n['reference']} reference participants" if n["reference"] else ""
    out = f"Change from ses-{design['baseline']} to ses-{design['followup']} of {arms} participants"
    if design.get("control_baseline"):
        out += (
            f" was compared within participants with the change from "
            f"ses-{design['control_baseline']} to ses-{design['control_followup']} (crossover)"
        )
    names = list(verdict.get("covariates") or ())
    covariates = f"Covariates: {', '.join(names)}." if names else "There were no covariates."
    more = []
    if design.get("harmonise"):
        more.append(
            f"Edges were harmonised over {design['site']} (doi:10.1093/biostatistics/kxj037)."
        )
    if design.get("weighted"):
        more.append("Participants were weighted by the precision of their change.")
    if n["control"]:
        more.append(_arms_prose(design))
    return " ".join([f"{out}{reference} was analysed. {covariates}", *more])


def _arms_prose(design: Row) -> str:
    """Say how arms were compared."""
    if design.get("randomised") is False:
        return "Arms were not randomised; their changes from baseline were compared."
    return (
        "Arms were compared by analysis of covariance, in which each global coefficient and each "
        "circuit was adjusted for its own baseline (doi:10.1136/bmj.323.7321.1123)."
    )


def _titles(verdict: Row) -> dict[str, str]:
    """Return the title of each primary circuit, by its name."""
    rows = verdict.get("circuits") or {}
    return {name: str(row.get("title") or name) for name, row in rows.items()}


def _model(verdict: Row) -> str:
    design = verdict["design"]
    terms = [GLOBAL_TERMS.get(term, term) for term in verdict.get("global") or {}]
    circuits = list(_titles(verdict).values())
    background = _BACKGROUND[design.get("background", "all")]
    if terms:
        model = (
            "For each participant a global model was fitted to background edges "
            f"({background}). Its tested terms were: {', '.join(terms)}."
        )
    else:
        model = "Global terms were not tested."
    return (
        f"{model} The response of each of {wording.count(len(circuits), 'circuit')} "
        f"({', '.join(circuits)}) was its mean residual change (beyond the global model)."
    )


def _heterogeneity(verdict: Row) -> str:
    """Describe how circuits were compared with the variation of change over networks."""
    found = verdict.get("heterogeneity") or {}
    if not found.get("n_blocks"):
        return "Circuits were tested against 0." if found else ""
    return (
        f"Circuits were tested against the variation of change over {found['n_blocks']} blocks of "
        f"background edges ({found['source']}): the variance of true change over blocks, estimated "
        "by the method of moments (doi:10.1016/j.cct.2006.04.004), was added to the sampling "
        "variance of each circuit. One global law for all blocks was tested by the maximum "
        "statistic over blocks, and a gain was claimed only if it also held within blocks. "
        "Heterogeneity was of interest from a standard deviation of "
        f"{wording.show(found.get('smallest'), 3)} Fisher z."
    )


def _inference(verdict: Row) -> str:
    design = verdict["design"]
    titles = _titles(verdict)
    directions = [
        f"{titles.get(name, name)} ({side})" for name, side in design.get("directions") or ()
    ]
    sides = (
        f"Tests were two-sided, except for directions fixed in advance: {', '.join(directions)}."
        if directions
        else "Tests were two-sided."
    )
    return (
        f"Coefficients were tested by up to {design['n_permutations']} permutations (seed "
        f"{verdict['seed']}; doi:10.2307/1391660, doi:10.1016/j.neuroimage.2014.01.060) with "
        "family-wise correction by the maximum statistic, over global terms and over circuits, at "
        f"alpha = {design['alpha']:g}. {sides} Equivalence was tested by two one-sided tests "
        "(doi:10.1007/BF01068419) against the smallest effects of interest: "
        f"{wording.smallest_effects(design)}. An effect was ruled out only if its 95 % interval "
        "contained 0 and the power to find it was at least 80 %. Bayes factors are JZS, with a "
        f"Cauchy prior of scale {R_MEDIUM:.3f} "
        "(doi:10.3758/PBR.16.2.225), and compare each estimate with 0, without the variation of "
        "change over networks. "
        "Edges were correlated with motion over participants (QC-FC, "
        "doi:10.1016/j.neuroimage.2017.03.020), and these correlations were correlated with the "
        "length of the edges (doi:10.1016/j.neuroimage.2017.12.073)."
    )


def checklist(verdict: Row, tests: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Answer the COBIDAS items that concern an analysis of connectivity.

    Parameters
    ----------
    verdict : mapping
        Content of verdict.json.
    tests : sequence of mapping
        Rows of tests.tsv.

    Returns
    -------
    list of (str, str, str)
        Topic, item and answer; the answer is empty if the files do not contain it.

    Notes
    -----
    Nichols 2017, doi:10.1038/nn.4500.
    """
    n, design = verdict.get("n") or {}, verdict.get("design") or {}
    settings = verdict.get("settings") or {}
    is_as_given = verdict.get("strategy") == AS_GIVEN
    counts = ", ".join(f"{n[k]} {k}" for k in ("treated", "control", "reference") if n.get(k))
    missing = (verdict.get("exclusion_by_arm") or {}).get("analysed_and_excluded") or {}
    qcfc = (verdict.get("quality") or {}).get("qcfc_median_abs_r")
    plan = verdict.get("plan") or {}
    versions = verdict.get("versions") or {}
    of_circuits = [row for row in tests if row.get("family") == "specific"]
    rows = (
        ("Participants", "Number analysed, by group", counts),
        (
            "Participants",
            "Number not analysed, by group",
            _pairs({k: v[1] for k, v in missing.items()}),
        ),
        ("Participants", "Inclusion and exclusion criteria, consent, demographics, diagnosis", ""),
        ("Design", "Visits compared", _visits(design)),
        ("Design", "Random assignment", _randomised(design)),
        ("Design", "Blinding", ""),
        ("Design", "Sample size and its justification", _power(of_circuits)),
        ("Acquisition", "Scanner, sequence, repetition time, instructions", ""),
        ("Preprocessing", "Software and steps before denoising", ""),
        ("Preprocessing", "Denoising", "" if is_as_given else str(verdict.get("strategy") or "")),
        ("Preprocessing", "Exclusion of data", "" if is_as_given else _thresholds(settings)),
        (
            "Preprocessing",
            "Residual relation to motion",
            _number_or_nothing(qcfc, "median |r| = "),
        ),
        ("Modelling", "Regions", _regions(verdict)),
        (
            "Modelling",
            "Dependent variable",
            EDGE_WORDS.get(str(settings.get("estimator")), "").split(" (")[0],
        ),
        ("Modelling", "Hypotheses stated as circuits", ", ".join(_titles(verdict).values())),
        ("Modelling", "Comparison of the arms", _arms(verdict)),
        ("Modelling", "Covariates", ", ".join(verdict.get("covariates") or ()) or "none"),
        ("Inference", "Test and correction", _method(of_circuits)),
        (
            "Inference",
            "Smallest effect of interest",
            wording.smallest_effects(design),
        ),
        ("Inference", "Plan frozen in advance", str(plan.get("sentence") or "")),
        ("Results", "Estimates with intervals for every test", "tests.tsv" if tests else ""),
        ("Reproducibility", "Software", _pairs(versions)),
        ("Reproducibility", "Code, settings and seed", _hashes(verdict)),
        ("Reproducibility", "Availability of data and code", ""),
    )
    return list(rows)


def _number_or_nothing(value: object, start: str) -> str:
    """Return a number after a text, or an empty string if the number is not available."""
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


def _randomised(design: Row) -> str:
    stated = design.get("randomised")
    return "" if stated is None else ("yes" if stated else "no")


def _arms(verdict: Row) -> str:
    if not (verdict.get("n") or {}).get("control"):
        return ""
    if (verdict.get("design") or {}).get("randomised") is False:
        return "changes from baseline (arms not randomised)"
    return "analysis of covariance with the baseline"


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
    names = ("code_hash", "settings_hash", "seed")
    return ", ".join(f"{k.replace('_', ' ')} {verdict[k]}" for k in names if k in verdict)
