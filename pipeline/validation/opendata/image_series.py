"""Extract regional time series from published images that the authors preprocessed and denoised.

The names of such images state neither space nor processing, and there are no confounds. They can
therefore be used neither as raw images nor as output of fMRIPrep, but only as regional time
series, without further denoising.
"""

from collections.abc import Sequence
from pathlib import Path

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.bids.filters import plain_label
from circuitshift.pipeline.bids.names import Name, build_path, parse_name
from circuitshift.pipeline.errors import CircuitshiftError, InputError, InputProblem
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests, recorded_digests
from circuitshift.pipeline.io.nifti import read_header
from circuitshift.pipeline.io.provenance import code_hash, hash_of
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
        if (name := parse_name(path.name)) is not None and _is_requested(name, runs)
    ]
    if not found:
        raise InputError(f"{root} contains no image sub-*/func/*_bold.nii.gz; fetch it")
    problems: list[InputProblem] = []
    with recorded_digests("series", out_dir) as digests:
        for path, name in found:
            try:
                _write_series(path, name, regions, space, out_dir=out_dir, digests=digests)
            except CircuitshiftError as error:
                what = str(error).removeprefix(f"{path}: ")
                problems.append(InputProblem(str(path), what, "fetch it", name.get("sub")))
    return len(found) - len(problems), problems


def _write_series(
    path: Path, name: Name, regions: Atlas, space: str, *, out_dir: Path, digests: Digests
) -> None:
    """Write the time series of one image, unless valid series exist."""
    header = read_header(path)
    added = [("space", space), ("atlas", regions.name), ("stat", "mean")]
    target = out_dir / build_path([*name.entities, *added], "timeseries", ".tsv")
    image = "" if regions.image is None else digests.of(regions.image)
    key = {
        "InputsHash": hash_of(digests.of(path), regions.kind, regions.regions, image, space),
        "CodeHash": code_hash(__name__),
    }
    sidecar = target.with_suffix(".json")
    if target.exists() and sidecar.exists():
        recorded = tables.read_json(sidecar)
        if all(recorded.get(field) == value for field, value in key.items()):
            return
    part = parcellate(regions, header.affine, header.grid, None)
    extracted = extract(path, [part])
    series = extracted.series[0].copy()
    series[:, extracted.coverage[0] < _MIN_COVERAGE] = float("nan")
    about: dict[str, object] = {**key, "Sources": [path.as_uri()]}
    if header.t_r_s:
        about["RepetitionTime"] = header.t_r_s
    target.parent.mkdir(parents=True, exist_ok=True)
    tables.write_series(target, regions.labels, series, sidecar=about)


def _is_requested(name: Name, runs: Sequence[str]) -> bool:
    """Return whether an image has one of the labels of ``run-``."""
    return not runs or name.get("run") in {plain_label(run, "run") for run in runs}
