"""Load the atlases of a study, write their regions to the output folder, and read them back."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from circuitshift.atlases.load import infer_region, load_atlas
from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.bids.input_types import is_image, read_table
from circuitshift.pipeline.errors import AtlasError, TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings, Run

__all__ = ["atlas_for", "prepare_atlases", "read_atlas"]


@lru_cache(maxsize=8)
def atlas_for(source: str, space: str) -> Atlas:
    """Load an atlas in the space of a run, once per process.

    Parameters
    ----------
    source : str
        Name or path of the atlas.
    space : str
        Template space of the run; empty if it is unknown.

    Returns
    -------
    Atlas
    """
    return load_atlas(source, space=space) if space else load_atlas(source)


_ATLAS_COLUMNS = {
    "index": "Value in the label image, or row of the table",
    "label": "Name of the region",
    "hemisphere": "L, R, or n/a",
    "network": "Large-scale network, or n/a",
    "x": "x coordinate of the centre, MNI space, mm",
    "y": "y coordinate of the centre, MNI space, mm",
    "z": "z coordinate of the centre, MNI space, mm",
}


def _atlas_table(out_dir: Path, name: str) -> Path:
    return out_dir / "sourcedata" / "atlases" / f"atlas-{name}_dseg.tsv"


def prepare_atlases(
    runs: Sequence[Run], settings: AnalysisSettings, out_dir: Path
) -> tuple[str, ...]:
    """Load each atlas that the runs need, and write its regions to the output folder.

    Images are measured with the atlases of `settings` in the space of the image. The regions of
    series and matrices are those of an atlas of `settings` that contains all column names; without
    such an atlas, those of ``atlas-<A>_dseg.tsv`` in the data set; without this file, the column
    names.

    Parameters
    ----------
    runs : sequence of Run
        Runs of all participants.
    settings : AnalysisSettings
        Settings with the names or paths of atlases.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    tuple of str
        Names of the atlases; the primary atlas is first.

    Raises
    ------
    AtlasError
        If an atlas cannot be loaded, or does not contain the regions of a run.
    """
    atlas_for.cache_clear()  # files may have changed since the last run of this process
    atlases: dict[str, Atlas] = {}
    for space in sorted({run.space for run in runs if is_image(run)}):
        for source in settings.atlases:
            atlas = atlas_for(source, space)
            atlases.setdefault(atlas.name, atlas)
    for name in sorted({run.atlas for run in runs if not is_image(run)}):
        series_atlas = _atlas_of_series([run for run in runs if run.atlas == name], settings)
        if series_atlas is not None:
            regions, reference = series_atlas.regions, series_atlas.reference
            atlases.setdefault(name, Atlas(name, regions, "table", reference=reference))
    for name, atlas in atlases.items():
        _write_atlas(atlas, _atlas_table(out_dir, name))
    read_atlas.cache_clear()
    return tuple(atlases)


def _atlas_of_series(runs: Sequence[Run], settings: AnalysisSettings) -> Atlas | None:
    """Return the regions of the first readable run; None if no run can be read.

    Problems of the other runs are reported when they are measured.
    """
    for run in runs:
        try:
            return _atlas_of_run(run, settings)
        except TableError:
            continue
    return None


def _atlas_of_run(run: Run, settings: AnalysisSettings) -> Atlas:
    """Return the regions of series or of a matrix from other software."""
    names = read_table(run)[0]
    labels = set(names)
    for source in settings.atlases:
        atlas = atlas_for(source, run.space)
        if labels <= set(atlas.labels):
            return atlas
    if settings.atlases != AnalysisSettings().atlases:
        raise AtlasError(
            f"{run.path}: none of the atlases of --atlas ({', '.join(settings.atlases)}) contains "
            f"its regions, which begin with {', '.join(sorted(labels)[:5])}; specify the atlas "
            "with which the file was computed, or omit --atlas"
        )
    for folder in list(run.path.parents)[:5]:
        table = folder / f"atlas-{run.atlas}_dseg.tsv"
        if table.exists():
            atlas = load_atlas(table)
            if labels <= set(atlas.labels):
                return atlas
    regions = tuple(infer_region(k, name) for k, name in enumerate(names, start=1))
    return Atlas(run.atlas, regions, "table")


def _write_atlas(atlas: Atlas, path: Path) -> None:
    centres = atlas.centres_mm()
    tables.write_table(
        path,
        {
            "index": [r.index for r in atlas.regions],
            "label": atlas.labels,
            "hemisphere": [r.hemisphere or None for r in atlas.regions],
            "network": [r.network or None for r in atlas.regions],
            "x": centres[:, 0],
            "y": centres[:, 1],
            "z": centres[:, 2],
        },
        sidecar={k: {"Description": v} for k, v in _ATLAS_COLUMNS.items()}
        | {"Reference": atlas.reference, "Licence": atlas.licence, "Space": atlas.space},
    )


@lru_cache(maxsize=8)
def read_atlas(out_dir: Path, name: str) -> Atlas:
    """Read the regions of an atlas that `prepare_atlases` wrote.

    Parameters
    ----------
    out_dir : Path
        Root of the output data set.
    name : str
        Name of the atlas.

    Returns
    -------
    Atlas
        Atlas of kind ``table``, with the available centres of regions.
    """
    path = _atlas_table(out_dir, name)
    table = tables.read_table(path)
    about = tables.read_json(path.with_suffix(".json"))
    xyz = np.array([table.numbers(axis) for axis in "xyz"]).T
    values = {
        name: ["" if text == tables.NOT_AVAILABLE else text for text in table.column(name)]
        for name in ("hemisphere", "network")
    }
    regions = tuple(
        Region(
            int(index),
            label,
            values["hemisphere"][k],
            values["network"][k],
            None if np.isnan(xyz[k]).any() else (xyz[k, 0], xyz[k, 1], xyz[k, 2]),
        )
        for k, (index, label) in enumerate(
            zip(table.column("index"), table.column("label"), strict=True)
        )
    )
    return Atlas(name, regions, "table", reference=str(about.get("Reference") or ""))
