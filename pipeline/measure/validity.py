"""Decide whether the outputs of a run are still valid or must be computed again.

Outputs are valid as long as four hashes in the JSON file of the matrix are unchanged, and all
output files exist with the content that was written:

- ``InputsHash``: content of the image, mask, confounds table and its JSON file, segmentation, atlas
  and strategies (of a series or matrix: of the tables beside it, and what its JSON files declare),
  the repetition time and, if it is stated, the quality of the registration, but not names of
  folders and times of files;
- ``SourceDigest``: content of the image, series or matrix alone, by which copies are found;
- ``SettingsHash``: settings of the measurement, which do not include circuits;
- ``CodeHash``: source of `circuitshift.pipeline.measure.run` and of all modules that it imports.
"""

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.bids.input_types import is_image
from circuitshift.pipeline.bids.runs.registration import registration_of
from circuitshift.pipeline.errors import InputError, TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests
from circuitshift.pipeline.io.provenance import code_hash, hash_of
from circuitshift.pipeline.measure import quality_images as views
from circuitshift.pipeline.measure import run as measuring
from circuitshift.pipeline.measure.atlas_files import atlas_for, read_atlas
from circuitshift.pipeline.measure.given.companions import companions_of
from circuitshift.pipeline.measure.given.declared import declared_about
from circuitshift.pipeline.measure.outputs import desc_of, estimator_of, outputs_of
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings, Run

__all__ = ["about_run", "finished_rows", "measuring_code", "note_outputs", "run_key"]


def measuring_code() -> str:
    """Hash the code that measures runs.

    Data files are not included, because `run_key` includes the content of atlases and strategies.
    """
    return code_hash(measuring.__name__, data=False)


def run_key(
    run: Run, settings: AnalysisSettings, out_dir: Path, digests: Digests
) -> dict[str, str]:
    """Hash the inputs, settings and code from which the outputs of a run are computed.

    Parameters
    ----------
    run : Run
        Run with its repetition time, from
        `circuitshift.pipeline.bids.run_metadata.check_run`.
    settings : AnalysisSettings
        Settings of the measurement.
    out_dir : Path
        Root of the output data set.
    digests : Digests
        Digests of files.

    Returns
    -------
    dict of str to str
        Hashes with the keys ``InputsHash``, ``CodeHash`` and ``SettingsHash``, and the digest of
        the image, series or matrix itself with the key ``SourceDigest``.

    Raises
    ------
    CircuitshiftError
        If an atlas or a file of strategies cannot be read.
    OSError
        If another file cannot be read.
    """
    if is_image(run):
        atlases = [atlas_for(source, run.space) for source in settings.atlases]
        # the description of a strategy does not influence results
        strategies = [
            (s.name, s.load, s.low_pass_hz, s.high_pass_hz, s.fd_threshold_mm)
            for s in measuring.strategies_of(settings)
        ]
    else:
        atlases, strategies = [read_atlas(out_dir, run.atlas)], []
    inputs = hash_of(
        [None if path is None else digests.of(path) for path in _files(run)],
        [_atlas_key(atlas, digests) for atlas in atlases],
        strategies,
        run.path.name,
        run.entities,
        run.t_r_s,
        *([] if is_image(run) else [declared_about(run, companions_of(run))]),
        *_registration_key(run),
    )
    return {
        "InputsHash": inputs,
        "SourceDigest": digests.of(run.path),
        "CodeHash": measuring_code(),
        "SettingsHash": settings.by_content().digest(),
    }


def _registration_key(run: Run) -> list[object]:
    """Return the quality of the registration of an image, which may exclude it, if it is stated."""
    if not is_image(run):
        return []
    found = registration_of(run)
    return [] if math.isnan(found.boundary_cost) else [found]


def _files(run: Run) -> list[Path | None]:
    """List all files that are read to measure a run."""
    if not is_image(run):
        return [run.path, *companions_of(run).files]
    sidecar = None if run.confounds is None else run.confounds.with_suffix(".json")
    if sidecar is not None and not sidecar.exists():
        sidecar = None
    return [run.path, run.mask, run.confounds, sidecar, views.segmentation_of(run)]


def _atlas_key(atlas: Atlas, digests: Digests) -> object:
    image = None if atlas.image is None else digests.of(atlas.image)
    return atlas.name, atlas.kind, atlas.space, atlas.reference, image, _hash(atlas.regions)


@lru_cache(maxsize=8)
def _hash(regions: tuple[Region, ...]) -> str:
    return hash_of(regions)


def about_run(
    run: Run,
    atlas: Atlas | None,
    notes: Sequence[str],
    out_dir: Path,
    *,
    acquisition: Mapping[str, object],
) -> dict[str, object]:
    """Return the content of the JSON file of a matrix that describes the run, not the measurement.

    If only this content changes, for example because folders were moved, the JSON file is written
    again without a new measurement.

    Parameters
    ----------
    run : Run
        Source run.
    atlas : Atlas or None
        Atlas of an image; None for series and matrices.
    notes : sequence of str
        Notes from `circuitshift.pipeline.bids.run_metadata.check_run`.
    out_dir : Path
        Root of the output data set.
    acquisition : mapping of str to object
        Facts from `circuitshift.pipeline.bids.runs.acquisition.acquisition_of`.

    Returns
    -------
    dict
        Content with the keys ``Preprocessing``, ``PreprocessingReport``, ``Notes`` and
        ``Acquisition``.
    """
    return {
        "Preprocessing": views.preprocessed_by(run) if is_image(run) else "",
        "PreprocessingReport": views.fmriprep_report(run, out_dir),
        "Notes": [*notes, *_space_note(atlas, run)],
        "Acquisition": dict(acquisition),
    }


def _space_note(atlas: Atlas | None, run: Run) -> list[str]:
    """Note that an image and its atlas are in different template spaces."""
    if atlas is None or not (atlas.space and run.space) or atlas.space == run.space:
        return []
    return [
        f"Atlas {atlas.name} is in {atlas.space} and the images are in {run.space}: regions are "
        "displaced by up to a few millimetres."
    ]


def finished_rows(
    run: Run,
    settings: AnalysisSettings,
    out_dir: Path,
    *,
    key: Mapping[str, str],
    about: Callable[[Atlas | None], Mapping[str, object]],
    digests: Digests,
    update: bool = False,
    kinds: Container[tuple[object, object]] | None = None,
) -> list[dict[str, object]] | None:
    """Return the rows of a run if all its outputs exist and are valid, otherwise None.

    Parameters
    ----------
    run : Run
        Source run.
    settings : AnalysisSettings
        Settings of the measurement.
    out_dir : Path
        Root of the output data set.
    key : mapping of str to str
        Hashes from `run_key`.
    about : callable
        Function that takes an atlas and returns the content of `about_run`.
    digests : Digests
        Digests of files.
    update : bool
        Whether to write the JSON file again if only its description of the run has changed;
        otherwise the outputs are not valid in this case.
    kinds : container of (str, str), optional
        Atlas and strategy of the expected outputs. Default: those of the settings.

    Returns
    -------
    list of dict, or None
        Rows of ``sub-X_runs.tsv``; None if the run must be measured.
    """
    rows: list[dict[str, object]] = []
    for name, strategy, desc, atlas in _expected(run, settings):
        if kinds is not None and (name, strategy) not in kinds:
            continue
        path = out_dir / outputs_of(run, name, desc, estimator_of(run, settings))["relmat"]
        content = _valid_sidecar(path.with_suffix(".json"), key, out_dir, digests)
        if content is None:
            return None
        current = content | dict(about(atlas))
        if current != content:
            if not update:
                return None
            tables.write_json(path.with_suffix(".json"), current)
        rows.append(dict(content["Row"]))
    return rows


def _expected(run: Run, settings: AnalysisSettings) -> list[tuple[str, str, str, Atlas | None]]:
    """Return atlas name, strategy, ``desc-`` label and atlas of each expected output of a run."""
    if not is_image(run):
        return [(run.atlas, AS_GIVEN, "", None)]
    strategies = measuring.strategies_of(settings)
    atlases = [atlas_for(source, run.space) for source in settings.atlases]
    return [
        (atlas.name, strategy.name, desc_of(strategy, settings), atlas)
        for atlas in atlases
        for strategy in strategies
    ]


def _valid_sidecar(
    path: Path, key: Mapping[str, str], out_dir: Path, digests: Digests
) -> dict[str, Any] | None:
    """Read the JSON file of a matrix if its hashes and files are unchanged, otherwise None."""
    try:
        content = tables.read_json(path)
    except TableError:  # missing or incomplete
        return None
    if "Files" not in content or any(content.get(name) != value for name, value in key.items()):
        return None
    files = {out_dir / name: digest for name, digest in content["Files"].items()}
    if not all(_is_unchanged(path, digest, digests) for path, digest in files.items()):
        return None
    return content if all((out_dir / name).exists() for name in content.get("Views", ())) else None


def note_outputs(rows: Iterable[Mapping[str, object]], out_dir: Path, digests: Digests) -> None:
    """Compute the digests of outputs that were just written, so that they are not read again.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of ``sub-X_runs.tsv``.
    out_dir : Path
        Root of the output data set.
    digests : Digests
        Digests of files, to which those of the outputs are added.
    """
    for row in rows:
        if row.get("relmat"):
            sidecar = (out_dir / str(row["relmat"])).with_suffix(".json")
            for name in tables.read_json(sidecar)["Files"]:
                digests.of(out_dir / name)


def _is_unchanged(path: Path, written: str, digests: Digests) -> bool:
    """Return whether a file has the digest of the content that was written."""
    try:
        return digests.of(path) == written
    except (OSError, InputError):
        return False
