"""Write the files that ``[input]`` describes as a BIDS derivative, once for each content."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuitshift.atlases.load import infer_region
from circuitshift.pipeline.bids.convert.conn_regions import (
    RegionMatch,
    match_regions,
    select_regions,
)
from circuitshift.pipeline.bids.convert.conn_runs import conn_runs, find_conn_files
from circuitshift.pipeline.bids.convert.description import ConnInput, Input, StackInput
from circuitshift.pipeline.bids.convert.records import ConvertedRegions, ConvertedRun
from circuitshift.pipeline.bids.convert.stack_runs import (
    check_regions_agree,
    stack_regions,
    stack_runs,
)
from circuitshift.pipeline.bids.description import refuse_foreign, write_dataset_description
from circuitshift.pipeline.bids.names import build_path
from circuitshift.pipeline.errors import InputError, TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.conn import ConnFile, read_conn, read_conn_regions
from circuitshift.pipeline.io.provenance import code_hash, hash_of
from circuitshift.pipeline.io.stacks import read_stack

__all__ = ["Conversion", "convert_inputs"]

_RECORD = "conversion.json"
_LEFT_OUT = "left out:"
_MANY_REGIONS = 500
#: A run, or label and group of a participant without any; and notes.
_Made = tuple[ConvertedRun | tuple[str, str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Conversion:
    """A derivative that was converted.

    Parameters
    ----------
    folder : Path
        Root of the derivative.
    notes : tuple of str
        What was matched, checked and left out.
    is_new : bool
        Whether files were written; false if the derivative was up to date.
    """

    folder: Path
    notes: tuple[str, ...]
    is_new: bool

    @property
    def is_complete(self) -> bool:
        """Whether all files could be read."""
        return not any(note.startswith(_LEFT_OUT) for note in self.notes)


def convert_inputs(root: Path, inputs: Sequence[Input], folder: Path) -> Conversion:
    """Convert the files of a study to a BIDS derivative, unless it is up to date.

    Parameters
    ----------
    root : Path
        Input folder.
    inputs : sequence of ConnInput or StackInput
        Description of its files; see `read_inputs`. All are of one kind.
    folder : Path
        Root of the derivative. Files of a former conversion are replaced or removed.

    Returns
    -------
    Conversion

    Raises
    ------
    CircuitshiftError
        If a file cannot be read or contradicts its description.
    """
    refuse_foreign(folder)
    sources = _source_files(root, inputs)
    key = hash_of(
        code_hash(__name__),
        [repr(source) for source in inputs],
        {name: tables.checksum(path) for name, path in sources.items()},
    )
    former = _former(folder)
    if former is not None and former.get("Key") == key and _is_complete(folder, former):
        return Conversion(folder, tuple(former["Notes"]), is_new=False)
    (folder / _RECORD).unlink(missing_ok=True)
    writer = _Writer(folder, inputs[0].atlas, inputs[0].task)
    if isinstance(inputs[0], ConnInput):
        writer.write(*_conn(root, [i for i in inputs if isinstance(i, ConnInput)]))
    else:
        writer.write(*_stacks(root, [i for i in inputs if isinstance(i, StackInput)]))
    writer.finish(root, key)
    return Conversion(folder, tuple(writer.notes), is_new=True)


def _source_files(root: Path, inputs: Iterable[Input]) -> dict[str, Path]:
    """Return all files that are converted, by their names relative to the input folder."""
    found: dict[str, Path] = {}
    for source in inputs:
        if isinstance(source, ConnInput):
            for files in find_conn_files(root, source).values():
                found |= {f"{source.folder}/{path.name}": path for _, path in files}
        else:
            found[source.file] = root / source.file
            if isinstance(source.regions, str):
                found[source.regions] = root / source.regions
    for path in found.values():
        if not path.is_file():
            raise InputError(f"{path}: there is no such file; [input] names it relative to {root}")
    return found


def _former(folder: Path) -> dict[str, Any] | None:
    try:
        return tables.read_json(folder / _RECORD)
    except TableError:
        return None


def _is_complete(folder: Path, record: dict[str, Any]) -> bool:
    files = record.get("Files")
    return (
        isinstance(files, dict)
        and isinstance(record.get("Notes"), list)
        and all(
            (folder / name).is_file() and tables.checksum(folder / name) == digest
            for name, digest in files.items()
        )
    )


# ------------------------------------------------------------------------------- reading


def _conn(
    root: Path, inputs: Sequence[ConnInput]
) -> tuple[ConvertedRegions, list[str], Iterator[_Made]]:
    """Match the regions of all files, then read them one participant at a time."""
    found = [(source, find_conn_files(root, source)) for source in inputs]
    listings, faults = [], []
    for source, participants in found:
        for files in participants.values():
            for _, path in files:
                try:
                    listings.append((source, read_conn_regions(path)))
                except TableError as error:  # a fault of this participant alone
                    faults.append(_fault(error))
    if not listings:
        raise TableError("\n".join(["no file of [input] can be read", *faults]))
    match = match_regions(listings)
    notes = [*match.notes, *faults]
    n = len(match.regions.labels)
    if n > _MANY_REGIONS:
        notes.append(
            f"{n} regions have {n * (n - 1) // 2} edges, which takes time and memory; select "
            "among them by regions = [...] in [input]."
        )
    return match.regions, notes, _conn_runs(found, match)


def _fault(error: TableError) -> str:
    return f"{_LEFT_OUT} {error}."


def _conn_runs(
    found: Sequence[tuple[ConnInput, dict[str, tuple[tuple[int, Path], ...]]]], match: RegionMatch
) -> Iterator[_Made]:
    for source, participants in found:
        seen: set[str] = set()
        for subject, files in participants.items():
            content, faults = _readable(files, match)
            runs, notes = conn_runs(subject, content, source, match.columns)
            seen |= {run.session for run in runs}
            notes += faults
            for k, run in enumerate(runs):
                yield run, notes if k == 0 else ()
            if not runs:
                yield (f"{source.prefix}{subject}", source.group), notes
        absent = sorted({label for _, label in source.visits} - seen)
        if absent:
            raise InputError(
                f"{source.folder}: no file has the {source.by} of visit {', '.join(absent)}; "
                f"correct {source.by}s in its [input]"
            )


def _readable(
    files: Iterable[tuple[int, Path]], match: RegionMatch
) -> tuple[dict[int, ConnFile], list[str]]:
    """Read the files of a participant; return a note for each file that cannot be read."""
    content, faults = {}, []
    for condition, path in files:
        if path in match.columns:  # the others have their note
            try:
                content[condition] = read_conn(path)
            except TableError as error:
                faults.append(_fault(error))
    return content, faults


def _stacks(
    root: Path, inputs: Sequence[StackInput]
) -> tuple[ConvertedRegions, list[str], Iterator[_Made]]:
    regions = [stack_regions(root, source) for source in inputs]
    kept, notes = [], []
    for source, found in zip(inputs, regions, strict=True):
        kept.append(found.taken(select_regions(found.labels, source.select)))
        tissues = [label for label in found.labels if label not in kept[-1].labels]
        if tissues and not source.select:
            notes.append(f"{source.file}: {', '.join(tissues)} are no regions and are left out.")
        check_regions_agree(kept[0], kept[-1], source.file)
    if len(kept[0].labels) < 3:
        raise InputError(
            f"{inputs[0].file}: select = {list(inputs[0].select)} leaves {len(kept[0].labels)} "
            f"of {len(regions[0].labels)} regions; an analysis needs at least three"
        )
    return kept[0], notes, _stack_runs(root, inputs, regions)


def _stack_runs(
    root: Path, inputs: Sequence[StackInput], regions: Sequence[ConvertedRegions]
) -> Iterator[_Made]:
    for source, found in zip(inputs, regions, strict=True):
        values, key = read_stack(root / source.file, source.key, len(source.axes))
        runs, notes = stack_runs(values, source, found.labels, key=key)
        keep = select_regions(found.labels, source.select)
        for k, run in enumerate(runs):
            rows = run.values[keep] if run.content == "matrix" else run.values
            yield replace(run, values=rows[:, keep]), notes if k == 0 else ()


# ------------------------------------------------------------------------------- writing


class _Writer:
    """Write runs one after the other, then what they share."""

    def __init__(self, folder: Path, atlas: str, task: str) -> None:
        self.folder, self.atlas, self.task = folder, atlas, task
        self.notes: list[str] = []
        self._files: list[Path] = []
        self._groups: dict[str, str] = {}
        self._written: dict[Path, object] = {}
        self._of_content: dict[str, str] = {}

    def write(self, regions: ConvertedRegions, notes: Iterable[str], made: Iterable[_Made]) -> None:
        """Write the label table and all runs."""
        self.notes += notes
        self._write_regions(regions)
        for run, more in made:
            self.notes += more
            if isinstance(run, ConvertedRun):
                self._write_run(run, regions.labels)
            else:
                self._groups.setdefault(*run)
        if not self._written:
            raise InputError("\n".join(["[input] describes no run", *self.notes]))

    def _write_regions(self, regions: ConvertedRegions) -> None:
        found = [
            infer_region(k, label, network=network)
            for k, (label, network) in enumerate(
                zip(regions.labels, regions.networks, strict=True), start=1
            )
        ]
        path = self.folder / f"atlas-{self.atlas}_dseg.tsv"
        tables.write_table(
            path,
            {
                "index": [region.index for region in found],
                "label": regions.labels,
                "hemisphere": [region.hemisphere or None for region in found],
                "network": [region.network or None for region in found],
                "x": regions.centres_mm[:, 0],
                "y": regions.centres_mm[:, 1],
                "z": regions.centres_mm[:, 2],
            },
            sidecar={
                "index": {"Description": "Row"},
                "label": {"Description": "Name of the region"},
                "hemisphere": {"Description": "L, R, or n/a"},
                "network": {"Description": "Large-scale network that the name states, or n/a"},
                **{axis: {"Description": "Centre, MNI space", "Units": "mm"} for axis in "xyz"},
            },
        )
        self._files += [path, path.with_suffix(".json")]

    def _write_run(self, run: ConvertedRun, labels: tuple[str, ...]) -> None:
        is_matrix = run.content == "matrix"
        relative = build_path(
            [
                ("sub", run.participant),
                ("ses", run.session),
                ("task", self.task),
                ("run", run.run),
                ("atlas", self.atlas),
                ("stat", "pearsoncorrelation" if is_matrix else "mean"),
            ],
            "relmat" if is_matrix else "timeseries",
            ".tsv",
        )
        if relative in self._written:
            raise InputError(
                f"sub-{run.participant} ses-{run.session}: it is in {self._written[relative]} and "
                f"in {run.source['File']}; give each [input] its own prefix or visits"
            )
        if self._groups.setdefault(run.participant, run.group) != run.group:
            raise InputError(
                f"sub-{run.participant}: it has the groups {self._groups[run.participant]!r} and "
                f"{run.group!r} ({run.source['File']}); give different participants different "
                "prefixes in [input]"
            )
        self._refuse_copy(run)
        self._written[relative] = run.source["File"]
        path = self.folder / relative
        about = {
            "SourceFile": run.source["File"],
            "Source": dict(run.source),
            "RepetitionTime": run.t_r_s,
            "Atlas": self.atlas,
        }
        if run.t_r_s is None:
            del about["RepetitionTime"]
        if is_matrix:
            about |= {"RelationshipMeasure": "Pearson correlation coefficient", "Directed": False}
            tables.write_matrix(path, labels, run.values, sidecar=about)
        else:
            tables.write_series(path, labels, run.values, sidecar=about)
        self._files += [path, path.with_suffix(".json")]

    def _refuse_copy(self, run: ConvertedRun) -> None:
        """Refuse data that another run has already: files were copied or named wrongly."""
        where = " ".join(
            [f"sub-{run.participant} ses-{run.session}", *([f"run-{run.run}"] if run.run else [])]
        )
        other = self._of_content.setdefault(hash_of(run.values.tobytes()), where)
        if other != where:
            raise InputError(
                f"{run.source['File']}: the data of {where} equal those of {other}; one of them "
                "is a copy, so check the files, or the visits in [input]"
            )

    def finish(self, root: Path, key: str) -> None:
        """Write the table of participants and the record; remove files of former conversions."""
        columns: dict[str, list[str]] = {
            "participant_id": [f"sub-{label}" for label in sorted(self._groups)]
        }
        about = {"participant_id": {"Description": "Label of the participant"}}
        if any(self._groups.values()):
            columns["group"] = [self._groups[label] or "n/a" for label in sorted(self._groups)]
            about["group"] = {"Description": "Group, as [input] of the study file states it"}
        path = self.folder / "participants.tsv"
        tables.write_table(path, columns, sidecar=about)
        self._files += [path, path.with_suffix(".json")]
        write_dataset_description(
            self.folder, name="circuitshift: converted input", sources=(str(root),)
        )
        self.notes = list(dict.fromkeys(self.notes))
        self._remove_others()
        tables.write_json(
            self.folder / _RECORD,
            {
                "Key": key,
                "Notes": self.notes,
                "Files": {
                    path.relative_to(self.folder).as_posix(): tables.checksum(path)
                    for path in sorted(self._files)
                },
            },
        )

    def _remove_others(self) -> None:
        kept = set(self._files)
        for pattern in ("sub-*/**/*_timeseries.*", "sub-*/**/*_relmat.*", "atlas-*_dseg.*"):
            for path in self.folder.glob(pattern):
                if path not in kept:
                    path.unlink()
