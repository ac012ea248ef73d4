"""Atlases of a study: loaded for the runs that need them, written beside the results, read back."""

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
    """Load an atlas in the space of a run; once per process.

    Parameters
    ----------
    source : str
        Name or path.
    space : str
        Empty when unknown.
    """
    return load_atlas(source, space=space) if space else load_atlas(source)


_ATLAS_COLUMNS = {
    "index": "Value in the label image, or row of the table",
    "label": "Name of the region",
    "hemisphere": "L, R, or n/a",
    "network": "Large-scale network, or n/a",
    "x": "Centre, MNI space, mm",
    "y": "Centre, MNI space, mm",
    "z": "Centre, MNI space, mm",
}


def _atlas_table(out_dir: Path, name: str) -> Path:
    return out_dir / "sourcedata" / "atlases" / f"atlas-{name}_dseg.tsv"


def prepare_atlases(
    runs: Sequence[Run], settings: AnalysisSettings, out_dir: Path
) -> tuple[str, ...]:
    """Load every atlas that the runs need, and write its regions into the output folder.

    Images need the atlases of `settings`, in their own space. Series and matrices need the atlas
    they were made with: one of `settings` with the same names, else ``atlas-<A>_dseg.tsv`` of
    their data set, else their own column names.

    Parameters
    ----------
    runs : sequence of Run
    settings : AnalysisSettings
    out_dir : Path

    Returns
    -------
    tuple of str
        Atlas names, the primary one first.

    Raises
    ------
    AtlasError
        If an atlas cannot be loaded.
    """
    atlas_for.cache_clear()  # files may have changed since the last run of this process
    atlases: dict[str, Atlas] = {}
    for space in sorted({run.space for run in runs if is_image(run)}):
        for source in settings.atlases:
            atlas = atlas_for(source, space)
            atlases.setdefault(atlas.name, atlas)
    for name in sorted({run.atlas for run in runs if not is_image(run)}):
        given = _first_given([run for run in runs if run.atlas == name], settings)
        if given is not None:
            atlases.setdefault(name, Atlas(name, given.regions, "table", reference=given.reference))
    for name, atlas in atlases.items():
        _write_atlas(atlas, _atlas_table(out_dir, name))
    read_atlas.cache_clear()
    return tuple(atlases)


def _first_given(runs: Sequence[Run], settings: AnalysisSettings) -> Atlas | None:
    """Find the regions by the first run that can be read; None when none can.

    What is wrong with the others is said where they are measured.
    """
    for run in runs:
        try:
            return _given_atlas(run, settings)
        except TableError:
            continue
    return None


def _given_atlas(run: Run, settings: AnalysisSettings) -> Atlas:
    """Find the regions of series or matrices made elsewhere."""
    names = read_table(run)[0]
    labels = set(names)
    for source in settings.atlases:
        atlas = atlas_for(source, run.space)
        if labels <= set(atlas.labels):
            return atlas
    if settings.atlases != AnalysisSettings().atlases:
        raise AtlasError(
            f"{run.path}: its regions are those of none of the atlases given by --atlas "
            f"({', '.join(settings.atlases)}); its first ones are {', '.join(sorted(labels)[:5])}"
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
    """Read the regions that `prepare_atlases` wrote.

    Parameters
    ----------
    out_dir : Path
    name : str

    Returns
    -------
    Atlas
        Of kind ``table``, with centres where known.
    """
    path = _atlas_table(out_dir, name)
    table = tables.read_table(path)
    about = tables.read_json(path.with_suffix(".json"))
    xyz = np.array([table.numbers(axis) for axis in "xyz"]).T
    words = {
        name: ["" if text == tables.NOT_AVAILABLE else text for text in table.column(name)]
        for name in ("hemisphere", "network")
    }
    regions = tuple(
        Region(
            int(index),
            label,
            words["hemisphere"][k],
            words["network"][k],
            None if np.isnan(xyz[k]).any() else (xyz[k, 0], xyz[k, 1], xyz[k, 2]),
        )
        for k, (index, label) in enumerate(
            zip(table.column("index"), table.column("label"), strict=True)
        )
    )
    return Atlas(name, regions, "table", reference=str(about.get("Reference") or ""))
