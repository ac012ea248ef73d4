"""Extract regional time series from published images that the authors preprocessed and denoised.

The names of such images state neither space nor processing, and there are no confounds. They can
therefore be used neither as raw images nor as output of fMRIPrep, but only as regional time
series, without further denoising.
"""

from collections.abc import Sequence
from pathlib import Path

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.filters import plain_label
from circuitshift.pipeline.bids.names import Name, parse_name
from circuitshift.pipeline.errors import CircuitshiftError, InputError, InputProblem
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.nifti import read_header
from circuitshift.pipeline.io.provenance import inputs_hash
from circuitshift.pipeline.measure.atlas_files import atlas_for
from circuitshift.pipeline.measure.extract import extract, parcellate

__all__ = ["write_image_series"]

_MIN_COVERAGE = 0.5  # as for runs that circuitshift denoises


def write_image_series(
    root: Path, out_dir: Path, *, space: str, atlas: str, runs: Sequence[str] = ()
) -> tuple[int, list[InputProblem]]:
    """Write the regional time series of all images ``*_bold.nii.gz`` of a data set.

    Parameters
    ----------
    root : Path
        Data set with images in a template space.
    out_dir : Path
        Output folder for ``*_timeseries.tsv`` in BIDS layout. Existing series of the same image
        are kept.
    space : str
        Template space of the images.
    atlas : str
        Name of an atlas that exists in this space.
    runs : sequence of str
        Labels of ``run-``; empty for all.

    Returns
    -------
    n_runs : int
        Number of runs with time series.
    problems : list of InputProblem
        Images that cannot be read.

    Raises
    ------
    InputError
        If there is no image.
    """
    regions = atlas_for(atlas, space)
    found = [
        (path, name)
        for path in sorted(root.glob("sub-*/**/func/*_bold.nii*"))
        if (name := parse_name(path.name)) is not None and _is_asked(name, runs)
    ]
    if not found:
        raise InputError(f"{root} contains no image sub-*/func/*_bold.nii.gz; fetch it")
    problems: list[InputProblem] = []
    for path, name in found:
        added = [("space", space), ("atlas", regions.name), ("stat", "mean")]
        target = out_dir / bids.build_path([*name.entities, *added], "timeseries", ".tsv")
        try:
            key = inputs_hash((path,), regions.name, space)
            sidecar = target.with_suffix(".json")
            if sidecar.exists() and tables.read_json(sidecar).get("InputsHash") == key:
                continue
            header = read_header(path)
            part = parcellate(regions, header.affine, header.grid, None)
            taken = extract(path, [part])
        except CircuitshiftError as error:
            person = name.get("sub")
            problems.append(
                InputProblem(str(path), str(error).removeprefix(f"{path}: "), "fetch it", person)
            )
            continue
        series = taken.series[0].copy()
        series[:, taken.coverage[0] < _MIN_COVERAGE] = float("nan")
        about: dict[str, object] = {"InputsHash": key, "Sources": [path.as_uri()]}
        if header.t_r_s:
            about["RepetitionTime"] = header.t_r_s
        target.parent.mkdir(parents=True, exist_ok=True)
        tables.write_series(target, regions.labels, series, sidecar=about)
    return len(found) - len(problems), problems


def _is_asked(name: Name, runs: Sequence[str]) -> bool:
    """Return whether an image has one of the labels of ``run-``."""
    return not runs or name.get("run") in {plain_label(run, "run") for run in runs}
