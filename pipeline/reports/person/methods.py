"""Section of a participant's report: methods as they ran, with references and provenance."""

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
from circuitshift.pipeline.reports.references import bibtex, cited, listed

__all__ = ["methods_section", "participant_bibtex", "participant_methods"]

#: Software whose authors ask to be cited.
_SOFTWARE = (
    "Workflows ran under Nipype (doi:10.3389/fninf.2011.00013); confounds were chosen by nilearn "
    "(doi:10.3389/fninf.2014.00014); numbers were computed with NumPy "
    "(doi:10.1038/s41586-020-2649-2). Inputs and outputs follow BIDS (doi:10.1038/sdata.2016.44)."
)


def participant_methods(report: ParticipantReport) -> list[str]:
    """Write the text, one sentence or paragraph a part, from the objects that ran.

    Parameters
    ----------
    report : ParticipantReport

    Returns
    -------
    list of str
    """
    record = report.provenance
    version = record.get("version of circuitshift", "")
    out = [f"Data were processed with circuitshift{' ' + version if version else ''}."]
    if report.preproc is not None:
        out.append(preproc_methods(report.preproc))
    elif record.get("preprocessing"):
        made = record["preprocessing"]
        source = " (doi:10.1038/s41592-018-0235-4)" if made.lower().startswith("fmriprep") else ""
        out.append(f"Images had been preprocessed by {made}{source}.")
    if record.get("denoising"):
        out.append(record["denoising"])
    if any(run.kept.n_regressors for run in report.runs):
        out.append(
            "Series and regressors were detrended and filtered alike before the regressors were "
            "projected out, so that no step brings back what another removed "
            "(doi:10.1002/hbm.24528)."
        )
    out += _edges(report)
    out += _images(report)
    out.append(_SOFTWARE)
    return out


def _edges(report: ParticipantReport) -> list[str]:
    if not report.runs:
        return []
    run, record = report.runs[0], report.provenance
    atlas = f" of the atlas {record['atlas']}" if record.get("atlas") else ""
    source = f" ({record['atlas reference']})" if record.get("atlas reference") else ""
    return [
        f"Series were averaged within {len(run.coverage_labels)} regions{atlas}{source}; a region "
        f"with signal in less than {100 * run.min_coverage:g} % of it was set to not available, "
        f"never dropped. Edges are {record.get('edges', 'correlations')}, Fisher-z "
        "transformed; runs of one session were averaged with their residual degrees of "
        "freedom as weights."
    ]


def _images(report: ParticipantReport) -> list[str]:
    if not any(run.views.tsnr for run in report.runs):
        return []
    out = [
        "The temporal signal-to-noise ratio is the mean over time divided by the standard "
        "deviation, before denoising and without the volumes before the steady state."
    ]
    drawn = [seed for seed in SEEDS if any(seed.name in r.views.seeds for r in report.runs)]
    if drawn:
        named = "; ".join(f"{seed.title}: {seed.source}" for seed in drawn)
        out.append(
            f"Seed maps are Pearson correlations, after denoising, of blocks of voxels "
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
    """
    return bibtex(_cited(report))


def methods_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show the methods text, its references, and what made the page.

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
