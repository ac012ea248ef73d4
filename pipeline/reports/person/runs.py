"""Sections of the participant report: motion, retained data, coverage, carpets and seed maps.

Runs are shown in pairs in the order of time, so that before and after are side by side.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.measure.voxelwise import SEED_RADIUS_MM, SEEDS, Seed
from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import (
    Block,
    Details,
    Figure,
    Heading,
    PageTable,
    Prose,
)
from circuitshift.pipeline.reports.person.content import (
    ParticipantReport,
    Removed,
    RunQuality,
    VoxelMap,
)

__all__ = [
    "carpet_section",
    "coverage_section",
    "motion_section",
    "retained_section",
    "seed_section",
]

_HIDE_R = 0.15  # at weaker correlations the mean image is shown
_MAX_MAPS = 6  # rows in a figure of maps
_MAX_NAMES = 20  # longer lists of regions are collapsed
_N_LOWEST = 10  # regions in the table of the lowest signal
_NOT_MEASURED = "No run was measured."


# -- sections -------------------------------------------------------------------------------------


def motion_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show displacement and DVARS of each run over time.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    figures = _motion_figures(report.runs)
    yield from figures
    if not report.runs:
        yield Prose(_NOT_MEASURED)
    elif not figures:
        yield Prose("Motion is not available: the input contains no confounds.")


def retained_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show the data of each run that censoring and denoising retained and removed.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    if not report.runs:
        yield Prose(_NOT_MEASURED)
        return
    yield _retained_figure(report.runs)
    yield _retained_table(report.runs)
    if report.removed:
        yield Heading("Data removed by denoising")
        yield _removed_table(report.removed)
    yield from _confound_figures(report.runs)


def coverage_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show which regions carry signal, and the temporal signal-to-noise ratio.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    yield _coverage_figure(report.runs)
    if not report.runs:
        yield Prose(f"Coverage is not available: {_NOT_MEASURED.lower()}")
        return
    for run in report.runs:
        text, named = _coverage_text(run)
        yield Prose(f"{run.label}: {text}")
        names = Prose(", ".join(named))
        if len(named) > _MAX_NAMES:
            yield Details(f"Names of all {len(named)} regions", (names,))
        elif named:
            yield names
    yield _signal_table(report.runs)
    yield _tsnr_figure(report.runs) or Prose(
        "The signal-to-noise ratio is not available: it requires images with a brain mask."
    )


def carpet_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show carpet plots before and after denoising.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
    """
    yield Prose(
        "Vertical stripes across all networks indicate head motion or breathing that remains after "
        "denoising. Empty columns are volumes that were not used."
    )
    figures = _carpet_figures(report.runs)
    yield from figures
    yield None if figures else Prose("Regional series are not available.")


def seed_section(report: ParticipantReport) -> Iterator[Block | None]:
    """Show the map of every seed on the brain, one row per run.

    Parameters
    ----------
    report : ParticipantReport

    Yields
    ------
    Block or None
        No blocks if there are no seed maps.
    """
    for seed in SEEDS:
        yield _seed_figure(seed, report.runs)


# -- figures and tables ---------------------------------------------------------------------------


def _pairs(runs: Sequence[RunQuality]) -> list[tuple[RunQuality, ...]]:
    return [tuple(runs[k : k + 2]) for k in range(0, len(runs), 2)]


def _short(run: RunQuality) -> str:
    """Return the label of a run without ``sub-X``."""
    return run.label.partition("_")[2] or run.label


def _keep(run: RunQuality) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    n = len(run.fd_mm)
    return np.asarray(run.keep if len(run.keep) == n else np.ones(n, bool))


def _motion_figures(runs: Sequence[RunQuality]) -> list[Figure]:
    """Draw displacement and DVARS over volumes, with two runs per figure."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    out = []
    moved = [run for run in runs if np.isfinite(run.fd_mm).any()]
    for k, pair in enumerate(_pairs(moved)):
        words = []
        for run in pair:
            keep = _keep(run)
            mean, top = wording.show(np.nanmean(run.fd_mm)), wording.show(np.nanmax(run.fd_mm))
            words.append(
                f"{run.label}: mean {mean} mm over all volumes, largest {top} mm; "
                f"{int((~keep).sum())} of {len(keep)} volumes not used"
            )
        svg = figures.motion(
            [
                figures.Motion(_short(run), run.fd_mm, _keep(run), run.std_dvars, _dvars_after(run))
                for run in pair
            ],
            threshold_mm=pair[0].fd_threshold_mm,
            key=f"motion{k}",
            alt=f"Framewise displacement and DVARS over volumes. {'. '.join(words)}.",
        )
        out.append(Figure(svg, f"{'. '.join(words)}."))
    return out


def _dvars_after(run: RunQuality) -> Floats | None:
    """Return the root mean square over regions of the change of denoised series per volume."""
    if run.series is None or not len(run.series):
        return None
    keep = _keep(run)
    if len(run.series) not in (int(keep.sum()), len(keep)):
        return None
    all_volumes = np.full((len(keep), run.series.shape[1]), np.nan)
    all_volumes[keep if len(run.series) < len(keep) else slice(None)] = run.series
    change = np.diff(all_volumes[:, np.isfinite(run.series).all(axis=0)], axis=0)
    if not change.shape[1]:
        return None
    out: Floats = np.concatenate([[np.nan], np.sqrt(np.square(change).mean(axis=1))])
    return out


def _coverage_figure(runs: Sequence[RunQuality]) -> Figure | None:
    """Draw the coverage of every region, by network."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    available = [run for run in runs if len(run.networks) == len(run.coverage) > 0]
    if not available:
        return None
    min_coverage = available[0].min_coverage
    missing = "; ".join(
        f"{run.label}: {len(run.below_coverage)} of {len(run.coverage_labels)} regions"
        for run in available
    )
    words = f"Regions below the threshold of {100 * min_coverage:g} %: {missing}."
    svg = figures.coverage(
        [(_short(run), np.asarray(run.coverage, float)) for run in available],
        available[0].networks,
        min_coverage=min_coverage,
        key="coverage",
        alt=f"Share of every region that carries signal, one row per network. {words}",
    )
    return Figure(
        svg, f"One mark per region; equal values within a network share one mark. {words}"
    )


def _coverage_text(run: RunQuality) -> tuple[str, list[str]]:
    """Return a sentence on regions with too little signal, and their names."""
    share = dict(zip(run.coverage_labels, np.asarray(run.coverage, float).tolist(), strict=False))
    signal = dict(zip(run.coverage_labels, _known(run.signal), strict=False))

    def said(label: str) -> str:
        parts = [f"{wording.show(100 * share[label], 0)} %"] if label in share else []
        if label in signal:
            parts.append(f"signal {wording.show(100 * signal[label], 0)} % of the brain's median")
        return f"{label} ({', '.join(parts)})" if parts else label

    named = [said(label) for label in run.below_coverage]
    total, missing = len(run.coverage_labels), len(named)
    if not missing:
        text = (
            f"all {total} regions carry signal in at least {100 * run.min_coverage:g} % of their "
            "voxels."
        )
    else:
        text = (
            f"{missing} of {total} regions carry signal in less than {100 * run.min_coverage:g} % "
            "of their voxels; their edges are not available:"
        )
    return text, named


def _known(values: Floats | None) -> list[float]:
    """Return values of regions as a list; empty if they are not available."""
    return [] if values is None else np.asarray(values, float).tolist()


def _signal_table(runs: Sequence[RunQuality]) -> Block | None:
    """List the regions with the lowest signal of all runs, which are the most affected by dropout.

    None if no run has a measured signal.
    """
    measured = [run for run in runs if run.signal is not None and run.tsnr is not None]
    if not measured:
        return None
    labels = list(measured[0].coverage_labels)
    measured = [run for run in measured if list(run.coverage_labels) == labels]
    lowest = np.nanmin([_known(run.signal) for run in measured], axis=0)
    order = np.argsort(lowest, kind="stable")[:_N_LOWEST]
    head = ["Region"]
    for run in measured:
        head += [f"{_short(run)}: signal, %", "covered, %", "tSNR"]
    rows = []
    for k in order.tolist():
        cells = [labels[k]]
        for run in measured:
            cells += [
                wording.show(100 * _known(run.signal)[k], 0),
                wording.show(100 * float(run.coverage[k]), 0),
                wording.show(_known(run.tsnr)[k], 0),
            ]
        rows.append(tuple(cells))
    caption = (
        f"The {len(rows)} regions with the lowest mean signal, relative to the median over the "
        f"brain. Voxels below {100 * measured[0].min_signal:g} % are not covered. All regions are "
        "in the tables with stat-coverage in their names."
    )
    return Details("Regions with the lowest signal", (PageTable(caption, tuple(head), rows),))


def _carpet_figures(runs: Sequence[RunQuality]) -> list[Figure]:
    """Draw carpets before and after denoising, or only after if there are no images."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    out = []
    with_images = [run for run in runs if run.views.before or run.views.after]
    for k, pair in enumerate(_pairs(with_images)):
        names = " and ".join(run.label for run in pair)
        svg = figures.carpets(
            [(_short(run), run.views.before, run.views.after) for run in pair],
            key=f"carpets{k}",
            alt=f"Carpet plots of {names}: blocks of voxels as rows of grey over time, sorted by "
            "network and tissue, before denoising above and after it below.",
        )
        caption = (
            f"{names}: blocks of voxels{_width(pair)}, sorted by network and then by tissue. Top: "
            f"after removal of mean and linear trend; bottom: after denoising with "
            f"{pair[0].strategy}. Each row is scaled by its standard deviation.{_amount(pair)}"
            f"{_not_denoised(pair)}"
        )
        out.append(Figure(svg, caption))
    for k, run in enumerate(run for run in runs if run not in with_images):
        if run.series is None or run.series.size == 0:
            continue
        n = run.series.shape[1]
        networks = run.networks if len(run.networks) == n else ("",) * n
        svg = figures.carpet(
            run.series,
            run.keep,
            networks,
            key=f"carpet{k}",
            alt=f"Denoised series of {n} regions of {run.label} over time, as rows of grey sorted "
            "by network.",
        )
        out.append(
            Figure(svg, f"{run.label}: regional series after denoising with {run.strategy}.")
        )
    return out


def _width(runs: Sequence[RunQuality]) -> str:
    widths = {wording.show(run.views.mean.block_mm, 1) for run in runs if run.views.mean}
    return f" {' and '.join(sorted(widths))} mm wide" if widths else ""


def _not_denoised(runs: Sequence[RunQuality]) -> str:
    names = ", ".join(run.label for run in runs if run.views.after is None)
    return f" Could not be denoised, so that the lower part is empty: {names}." if names else ""


def _amount(runs: Sequence[RunQuality]) -> str:
    words = [
        f"{run.label} {wording.show(100 * run.retained.variance_removed, 0)} %"
        for run in runs
        if np.isfinite(run.retained.variance_removed)
    ]
    return (
        f" Variance of regions removed by denoising, median: {', '.join(words)}." if words else ""
    )


def _tsnr_figure(runs: Sequence[RunQuality]) -> Figure | None:
    """Draw the temporal signal-to-noise ratio on the brain, one row per run."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    available = [(run, run.views.tsnr) for run in runs if run.views.tsnr is not None][:_MAX_MAPS]
    if not available:
        return None
    shown = np.concatenate([values.data[values.data > 0] for _, values in available])
    top = np.percentile(shown, 98) if shown.size else 1.0
    medians = "; ".join(f"{run.label}: {wording.show(run.median_tsnr, 0)}" for run, _ in available)
    svg = figures.brain_maps(
        [(_short(run), run.views.mean, values) for run, values in available],
        figures.Scale("temporal signal-to-noise ratio", 0.0, max(float(np.ceil(top)), 1.0)),
        key="tsnr",
        alt=f"Axial slices coloured by temporal signal-to-noise ratio. Medians: {medians}.",
    )
    caption = (
        "Mean divided by standard deviation over time, before denoising. Dark patches at only one "
        "visit affect all connections of the regions within them. Median over the voxels of the "
        f"mask: {medians}."
    )
    return Figure(svg, caption)


def _seed_figure(seed: Seed, runs: Sequence[RunQuality]) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    rows: list[tuple[str, VoxelMap | None, VoxelMap]] = [
        (_short(run), run.views.mean, run.views.seeds[seed.name])
        for run in runs
        if seed.name in run.views.seeds
    ][:_MAX_MAPS]
    if not rows:
        return None
    named = " and ".join(label for label, _, _ in rows)
    centres = "; ".join(
        ", ".join(wording.show(value, 0) for value in xyz) for xyz in seed.centres_mm
    )
    svg = figures.brain_maps(
        rows,
        figures.Scale("correlation", -0.8, 0.8, hide_below=_HIDE_R, diverging=True),
        key=f"seed{seed.name}",
        alt=f"Axial slices coloured by correlation with the {seed.title}: {named}.",
    )
    caption = (
        f"Correlation with the {seed.title} after denoising ({SEED_RADIUS_MM:g} mm around "
        f"{centres} mm; {seed.source}). The mean image is shown where correlations are "
        f"weaker than {_HIDE_R:g}."
    )
    return Figure(svg, caption)


def _retained_figure(runs: Sequence[RunQuality]) -> Figure | None:
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    measured = [run for run in runs if run.retained.n_volumes > 0]
    if not measured:
        return None
    counts = [(r.retained.n_retained, r.retained.n_censored, r.retained.n_dummy) for r in measured]
    words = "; ".join(f"{r.label}: {c[0]} used" for r, c in zip(measured, counts, strict=True))
    svg = figures.retained(
        [run.label for run in measured],
        counts,
        key="retained",
        alt=f"Bars of volumes used, censored and discarded at the start. {words}.",
    )
    return Figure(
        svg, "Volumes of each run: used, censored for motion, and discarded at the start."
    )


def _retained_table(runs: Sequence[RunQuality]) -> PageTable:
    head = (
        "Run",
        "Volumes",
        "Discarded at start",
        "Censored",
        "Used",
        "Minutes used",
        "Regressors",
        "Residual degrees of freedom",
        "Mean displacement, mm",
        "Included in the analysis",
    )
    rows = [
        (
            run.label,
            str(run.retained.n_volumes),
            str(run.retained.n_dummy),
            str(run.retained.n_censored),
            str(run.retained.n_retained),
            wording.show(run.retained.minutes, 1),
            str(run.retained.n_regressors),
            wording.show(run.retained.residual_dof, 0),
            wording.show(run.retained.mean_fd_mm, 3),
            "no" if run.excluded else "yes",
        )
        for run in runs
    ]
    return PageTable("Retained data of each run", head, rows)


def _confound_figures(runs: Sequence[RunQuality]) -> list[Figure]:
    """Draw correlations between confounds, with two runs per figure."""
    from circuitshift.pipeline.reports import figures  # noqa: PLC0415

    out = []
    available = [run for run in runs if run.views.confounds is not None]
    for k, pair in enumerate(_pairs(available)):
        panels = [(_short(run), run.views.confounds) for run in pair if run.views.confounds]
        strongest = "; ".join(f"{label}: {_strongest(*table)}" for label, table in panels)
        svg = figures.confound_matrices(
            panels,
            key=f"confounds{k}",
            alt=f"Correlations of confounds over the volumes used. Strongest for the global "
            f"signal: {strongest}.",
        )
        caption = (
            "Correlations of confounds over the volumes used. If the global signal correlates with "
            "displacement or DVARS, it partly reflects motion. Strongest correlation of the global "
            f"signal: {strongest}."
        )
        out.append(Figure(svg, caption))
    return out


def _strongest(names: tuple[str, ...], matrix: Floats) -> str:
    """Describe the strongest correlation between a confound and the global signal."""
    if "global_signal" not in names:
        return "no global signal in the table"
    gs = names.index("global_signal")
    row = np.where(np.arange(len(names)) == gs, 0.0, np.nan_to_num(matrix[gs]))
    at = int(np.abs(row).argmax())
    return f"{names[at]}, r = {wording.show(row[at])}"


def _removed_table(removed: Sequence[Removed]) -> PageTable:
    """Tabulate the data that each denoising strategy removed from each run."""
    head = (
        "Run",
        "Denoising",
        "Volumes used",
        "Regressors",
        "Variance removed, %",
        "Residual degrees of freedom",
        "Included in the analysis",
    )
    rows = [
        (
            found.run,
            found.strategy,
            str(found.retained.n_retained),
            str(found.retained.n_regressors),
            wording.show(100 * found.retained.variance_removed, 1),
            wording.show(found.retained.residual_dof, 0),
            "yes" if found.usable else "no",
        )
        for found in removed
    ]
    return PageTable("Data removed by each denoising strategy, median over regions", head, rows)
