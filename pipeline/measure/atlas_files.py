"""Load the atlases of a study, write their regions to the output folder, and read them back."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from circuitshift.atlases import PREDECESSOR
from circuitshift.atlases.load import infer_region, load_atlas
from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.bids.input_types import is_image, read_table
from circuitshift.pipeline.errors import AtlasError, TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.number_tables import NumberTable
from circuitshift.pipeline.records import AnalysisSettings, Run

__all__ = [
    "NamedColumns",
    "atlas_for",
    "atlases_of_series",
    "find_atlases",
    "name_columns",
    "prepare_atlases",
    "read_atlas",
]


class NamedColumns(NamedTuple):
    """Names of the columns of a series or matrix, and how they were found."""

    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


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


def atlases_of_series(settings: AnalysisSettings) -> tuple[str, ...]:
    """Return the atlases with which series and matrices may have been computed.

    Parameters
    ----------
    settings : AnalysisSettings
        Settings with the names or paths of atlases.

    Returns
    -------
    tuple of str
        The atlases of the settings. If they are those of the default, the 300 spheres that it
        contains follow, so that files that were computed with the 300 spheres only keep them.
    """
    if settings.atlases != AnalysisSettings().atlases:
        return settings.atlases
    return (*settings.atlases, PREDECESSOR)


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


def find_atlases(runs: Sequence[Run], settings: AnalysisSettings) -> dict[str, Atlas]:
    """Load each atlas that the runs need.

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

    Returns
    -------
    dict of str to Atlas
        Atlases by name; the primary atlas is first.

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
    return atlases


def prepare_atlases(
    runs: Sequence[Run], settings: AnalysisSettings, out_dir: Path
) -> tuple[str, ...]:
    """Load each atlas that the runs need, and write its regions to the output folder.

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
        If an atlas cannot be loaded, or does not contain the regions of a run (`find_atlases`).
    """
    atlases = find_atlases(runs, settings)
    for name, atlas in atlases.items():
        _write_atlas(atlas, _atlas_table(out_dir, name))
    read_atlas.cache_clear()
    return tuple(atlases)


def _atlas_of_series(runs: Sequence[Run], settings: AnalysisSettings) -> Atlas | None:
    """Find the regions by the first run whose names fit an atlas; None when none can be read.

    Runs with other names, or that cannot be read, say so where they are measured.
    """
    refused: AtlasError | None = None
    own_names: Counter[tuple[str, ...]] = Counter()
    for run in runs:
        try:
            table = read_table(run)
            given = _atlas_of_run(run, table, settings)
        except TableError:
            continue
        except AtlasError as error:
            refused = refused or error
            continue
        if given is not None:
            return given
        own_names[table.labels or ()] += 1
    if refused is not None:
        raise refused
    if not own_names:
        return None
    names = own_names.most_common(1)[0][0]  # of equally many, those of the first run
    regions = tuple(infer_region(k, name) for k, name in enumerate(names, start=1))
    return Atlas(runs[0].atlas, regions, "table")


def _atlas_of_run(run: Run, table: NumberTable, settings: AnalysisSettings) -> Atlas | None:
    """Find the atlas of a series or matrix; None if only its own column names are at hand."""
    if table.labels is None:
        return _atlas_by_count(run, table, settings)[0]
    labels = set(table.labels)
    for atlas in _candidates(run, settings):
        if labels <= set(atlas.labels) or _are_indices(table.labels, atlas):
            return atlas
    if settings.atlases != AnalysisSettings().atlases:
        raise AtlasError(
            f"{run.path}: none of the atlases of --atlas ({', '.join(settings.atlases)}) contains "
            f"its regions, which begin with {', '.join(sorted(labels)[:5])}; specify the atlas "
            "with which the file was computed, or omit --atlas"
        )
    for atlas in _atlases_beside(run):
        if labels <= set(atlas.labels) or _are_indices(table.labels, atlas):
            return atlas
    return None


def _candidates(run: Run, settings: AnalysisSettings) -> list[Atlas]:
    """Load the atlases that may contain the regions of a series or matrix, in order of preference.

    With the default atlases, one that is named like that of the run comes first, and then the one
    with fewer regions: the 300 spheres are not reported as an atlas of which regions are missing.
    """
    atlases = [atlas_for(source, run.space) for source in atlases_of_series(settings)]
    if settings.atlases != AnalysisSettings().atlases:
        return atlases
    named = _plain(run.atlas)
    return sorted(atlases, key=lambda atlas: (_plain(atlas.name) != named, len(atlas.regions)))


def _atlases_beside(run: Run) -> Iterator[Atlas]:
    """Yield the atlases whose label table is in the folder of a run or in those above."""
    for folder in list(run.path.parents)[:5]:
        table = folder / f"atlas-{run.atlas}_dseg.tsv"
        if table.exists():
            yield load_atlas(table)


def _are_indices(names: Sequence[str], atlas: Atlas) -> bool:
    """Return whether names are values of the label image and not names of regions."""
    indices = {str(region.index) for region in atlas.regions}
    return set(names) <= indices and not set(names) <= set(atlas.labels)


def _atlas_by_count(
    run: Run, table: NumberTable, settings: AnalysisSettings
) -> tuple[Atlas, tuple[str, ...]]:
    """Find the one atlas with as many regions as a table without names has columns.

    Columns are in ascending order of the values of the label image, as programs write them.
    HALFpipe also writes an empty column for each value that the image does not contain.

    Raises
    ------
    TableError
        If no atlas fits, several do, or the atlas lists its regions in another order.
    """
    n_columns = table.values.shape[1]
    is_asked = settings.atlases != AnalysisSettings().atlases
    atlases = [atlas_for(source, run.space) for source in atlases_of_series(settings)]
    named = [atlas for atlas in atlases if _plain(atlas.name) == _plain(run.atlas)]
    candidates = named or (atlases if is_asked else list(_atlases_beside(run)))
    places = [(atlas, _places(atlas, table)) for atlas in candidates]
    fitting = [(atlas, labels) for atlas, labels in places if labels]
    wanted = (
        f"{run.path}: it does not name its {n_columns} columns (its first line holds numbers), and "
    )
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise TableError(
            f"{wanted}several atlases fit ({', '.join(a.name for a, _ in fitting)}); give one of "
            "them by --atlas"
        )
    counts = ", ".join(f"{a.name} with {len(a.regions)} regions" for a in candidates)
    raise TableError(
        f"{wanted}{f'they are not those of {counts}' if counts else 'no atlas is given'}; give the "
        "atlas that it was made with by --atlas (an image with its table of labels, in ascending "
        "order), or write the names of the regions as its first line"
    )


def _places(atlas: Atlas, table: NumberTable) -> tuple[str, ...]:
    """Return a name for each column of a table without names; empty if the atlas does not fit.

    Columns of values that the atlas does not contain have an empty name.
    """
    indices = [region.index for region in atlas.regions]
    if indices != sorted(indices):
        return ()
    n_columns = table.values.shape[1]
    if n_columns == len(indices):
        return atlas.labels
    if n_columns != max(indices) or min(indices) < 1:
        return ()
    labels = dict(zip(indices, atlas.labels, strict=True))
    names = tuple(labels.get(k, "") for k in range(1, n_columns + 1))
    others = table.values[:, [not name for name in names]]
    return names if bool((np.isnan(others) | (others == 0)).all()) else ()


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def name_columns(run: Run, table: NumberTable, settings: AnalysisSettings) -> NamedColumns:
    """Name the columns of a series or matrix: by itself, or by its atlas.

    Parameters
    ----------
    run : Run
    table : NumberTable
        The table of the run.
    settings : AnalysisSettings
        Its atlases name the columns of tables without names, if the number of regions fits, and
        of tables whose names are values of the label image.

    Returns
    -------
    NamedColumns
        An empty name for a column that belongs to no region.

    Raises
    ------
    TableError
        If a table has no names and no atlas, or several, have as many regions.
    """
    if table.labels is None:
        atlas, labels = _atlas_by_count(run, table, settings)
        note = (
            f"{run.path.name}: it does not name its {len(labels)} columns (its first line holds "
            f"numbers); they are the {len(atlas.regions)} regions of atlas {atlas.name}, in the "
            "order of its label values."
        )
        return NamedColumns(tuple(labels), (note,))
    if not all(label.isdecimal() for label in table.labels):
        return NamedColumns(table.labels)
    known = _candidates(run, settings)
    for atlas in (*known, *_atlases_beside(run)):
        if set(table.labels) <= set(atlas.labels):
            break
        if _are_indices(table.labels, atlas):
            names = {str(region.index): region.label for region in atlas.regions}
            note = (
                f"{run.path.name}: its column names are label values of atlas {atlas.name}, whose "
                "names are taken."
            )
            return NamedColumns(tuple(names[label] for label in table.labels), (note,))
    return NamedColumns(table.labels)


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

    Raises
    ------
    TableError
        If no regions were written, or their table is damaged.
    """
    path = _atlas_table(out_dir, name)
    if not path.exists():
        raise TableError(
            f"{path}: the regions of atlas {name} are unknown, since no series or matrix names "
            "them; give the atlas that they were made with by --atlas"
        )
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
