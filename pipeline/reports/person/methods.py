"""Section of the participant report: methods, references and provenance."""

from collections.abc import Iterator
from urllib.parse import quote

from circuitshift.pipeline.measure.voxelwise import SEED_RADIUS_MM, SEEDS
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Code,
    Details,
    Items,
    Link,
    Pairs,
    Prose,
    Quote,
)
from circuitshift.pipeline.reports.person.content import ParticipantReport
from circuitshift.pipeline.reports.person.preprocessing import preproc_methods
from circuitshift.pipeline.reports.person.structure import structure_methods
from circuitshift.pipeline.reports.references import bibtex, cited, listed

__all__ = ["methods_section", "participant_bibtex", "participant_methods"]

#: Software whose authors request a citation.
_SOFTWARE = (
    "The workflow was run with Nipype (doi:10.3389/fninf.2011.00013). Confounds were selected with "
    "nilearn (doi:10.3389/fninf.2014.00014), and computations used NumPy "
    "(doi:10.1038/s41586-020-2649-2). Inputs and outputs follow BIDS (doi:10.1038/sdata.2016.44)."
)


def participant_methods(report: ParticipantReport) -> list[str]:
    """Write the methods text from the records of the analysis.

    Parameters
    ----------
    report : ParticipantReport

    Returns
    -------
    list of str
        Sentences and paragraphs, in the order of the text.
    """
    record = report.provenance
    version = record.get("version of circuitshift", "")
    out = [f"Data were processed with circuitshift{' ' + version if version else ''}."]
    if report.preproc is not None:
        out.append(preproc_methods(report.preproc))
    elif record.get("preprocessing"):
        software = record["preprocessing"]
        source = (
            " (doi:10.1038/s41592-018-0235-4)" if software.lower().startswith("fmriprep") else ""
        )
        out.append(f"Images had been preprocessed with {software}{source}.")
    if report.structure is not None and not report.structure.fault:
        out.append(structure_methods(report.structure))
    if record.get("denoising"):
        out.append(record["denoising"])
    if any(run.retained.n_regressors for run in report.runs):
        out.append(
            "Detrending and filtering were applied to both series and regressors before the "
            "regressors were projected out, so that no step reintroduces variance that another "
            "step removed (doi:10.1002/hbm.24528)."
        )
    out += _edges(report)
    out += _images(report)
    out.append(_SOFTWARE)
    return out


_AVERAGED = "runs of one session were averaged with their residual degrees of freedom as weights"


def _edges(report: ParticipantReport) -> list[str]:
    if not report.runs:
        return []
    run, record = report.runs[0], report.provenance
    atlas = f" of the atlas {record['atlas']}" if record.get("atlas") else ""
    source = f" ({record['atlas reference']})" if record.get("atlas reference") else ""
    floor = ""
    if any(each.signal is not None for each in report.runs):
        floor = (
            f" Voxels with a mean signal below {100 * run.min_signal:g} % of the median over the "
            "brain were omitted."
        )
    return [
        f"Series were averaged within {len(run.coverage_labels)} regions{atlas}{source}.{floor} "
        f"Regions with signal in less than {100 * run.min_coverage:g} % of their voxels were "
        f"treated as missing. Edges are {record.get('edges', 'correlations')}, Fisher-z "
        f"transformed; {record.get('runs', _AVERAGED)}."
    ]


def _images(report: ParticipantReport) -> list[str]:
    if not any(run.views.tsnr for run in report.runs):
        return []
    out = [
        "The temporal signal-to-noise ratio is the mean over time divided by the standard "
        "deviation, before denoising and without the volumes before the steady state."
    ]
    seeds = [seed for seed in SEEDS if any(seed.name in r.views.seeds for r in report.runs)]
    if seeds:
        named = "; ".join(f"{seed.title}: {seed.source}" for seed in seeds)
        out.append(
            f"Seed maps show Pearson correlations, after denoising, of blocks of voxels "
            f"{_widths(report)} mm wide with the mean of spheres of {SEED_RADIUS_MM:g} mm radius "
            f"({named})."
        )
    return out


def _widths(report: ParticipantReport) -> str:
    maps = [run.views.mean for run in report.runs if run.views.mean]
    return " and ".join(sorted({wording.show(found.block_mm, 1) for found in maps}))


def _cited(report: ParticipantReport) -> tuple[str, ...]:
    return cited(participant_methods(report))


def participant_bibtex(report: ParticipantReport) -> str:
    """Return the references of the methods text as BibTeX.

    Parameters
    ----------
    report : ParticipantReport

    Returns
    -------
    str
    """
    return bibtex(_cited(report))


def methods_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show the methods text, its references, and the provenance of the page.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    yield Quote(" ".join(participant_methods(report)))
    references = listed(_cited(report), participant_methods(report))
    if references:
        yield Details(f"References ({len(references)})", (Items(references),))
        bib = f"data:text/x-bibtex;charset=utf-8,{quote(participant_bibtex(report), safe='')}"
        name = f"sub-{report.participant}_references.bib"
        yield Prose(
            (
                Link("Save the references as BibTeX", bib, download=name),
                " (also in the folder of the participant)",
            )
        )
    yield Pairs(
        [
            (name, Code(value) if name == "command" else value)
            for name, value in report.provenance.items()
        ]
    )
