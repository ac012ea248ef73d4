"""The only reader of BIDS trees, and the only place that knows BIDS names.

One pass of `os.scandir` over the folders that can hold runs. Nothing is kept between calls, so
an added file is seen; nothing is written into the input; entities come from file names alone, so
what the folders above the data set are called cannot matter. Headers and sidecars are read one
run at a time, by `check_run`, not while indexing.
"""

import difflib
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from circuitshift.pipeline import __version__, nifti, tables
from circuitshift.pipeline.errors import CircuitshiftError, Fault, InputError
from circuitshift.pipeline.records import Door, Run

__all__ = [
    "ANY",
    "NONE",
    "Found",
    "Name",
    "Query",
    "build_path",
    "check_run",
    "find_runs",
    "load_filters",
    "parse_name",
    "write_dataset_description",
]

NONE = "Query.NONE"  # in a filter: the entity must be absent
ANY = "Query.ANY"  # in a filter: the entity must be there, with any value

# Order of entities in a file name: the BIDS schema's, with res and den straight after space as
# fMRIPrep writes them and atlas after those.
_ORDER = (
    *("sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain"),
    *("rec", "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi"),
    *("space", "cohort", "res", "den", "split", "recording", "chunk"),
    *("atlas", "seg", "scale", "label", "stat", "desc"),
)
_PLACE = {key: place for place, key in enumerate(_ORDER)}
_LONG_NAMES = {
    "subject": "sub",
    "session": "ses",
    "acquisition": "acq",
    "nucleus": "nuc",
    "volume": "voi",
    "ceagent": "ce",
    "tracer": "trc",
    "staining": "stain",
    "reconstruction": "rec",
    "direction": "dir",
    "modality": "mod",
    "resolution": "res",
    "density": "den",
    "segmentation": "seg",
    "statistic": "stat",
    "description": "desc",
}
_FILTER_KEYS = {**{key: key for key in _ORDER}, **_LONG_NAMES}
_FILTER_QUERIES = (  # what the filter files of fMRIPrep, sMRIPrep and XCP-D may hold
    *("bold", "t1w", "t2w", "flair", "sbref", "fmap", "roi", "dwi", "pet", "asl", "m0scan"),
    *("anat_brainmask", "t1w_seg", "confounds_raw", "confounds_tsv", "boldref", "mask"),
)
# A filter may repeat what every preprocessed run is; anything else would match nothing.
_FILTER_CONSTANTS = {
    "datatype": ("func",),
    "suffix": ("bold", "timeseries", "relmat"),
    "extension": (".nii.gz", ".nii", "nii.gz", "nii", ".tsv", "tsv"),
}

_NAME = re.compile(
    r"((?:[a-zA-Z0-9]+-[a-zA-Z0-9+]+_)+)([a-zA-Z0-9]+)(\.[a-zA-Z0-9]+(?:\.[a-zA-Z0-9]+)*)"
)
_LABEL = re.compile(r"[a-zA-Z0-9+]+")
_TAILS = ("_bold.nii.gz", "_bold.nii", "_timeseries.tsv", "_relmat.tsv")
_SURFACES = (".dtseries.nii", ".func.gii")
_JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_DOORS: tuple[Door, ...] = ("bold", "timeseries", "relmat")
_VARIANT = frozenset({"space", "cohort", "res", "den", "desc", "stat", "meas"})
_NUMBERED = frozenset({"run", "echo", "flip", "inv", "split", "chunk", "res"})
_PARCELS = ("atlas", "seg", "scale", "label")
_SPACES = ("MNI152NLin2009cAsym", "MNI152NLin6Asym")
_OWN_SPACES = ("T1w", "T2w", "anat", "individual", "scanner", "boldref", "func", "")
_NOTHING = "it holds no preprocessed run"
_MILLISECONDS_FROM = 100.0  # no fMRI has a repetition time of 100 s, nor one of 0.1 s in ms


@dataclass(frozen=True, slots=True)
class Name:
    """The parts of a BIDS file name.

    Parameters
    ----------
    entities : tuple of (str, str)
        In order of appearance: ``(("sub", "01"), ("task", "rest"))``.
    suffix : str
        Last part before the extension, such as ``bold``.
    extension : str
        From the first dot on, such as ``.nii.gz``.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str
    extension: str

    def get(self, key: str, default: str = "") -> str:
        """Value of an entity, or `default`."""
        return next((value for name, value in self.entities if name == key), default)


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs are wanted; an empty tuple asks for all.

    Parameters
    ----------
    participants, sessions, tasks : tuple of str
        Labels, with or without ``sub-``, ``ses-``, ``task-``.
    spaces : tuple of str
        Such as ``MNI152NLin2009cAsym`` or, as fMRIPrep spells it, ``MNI152NLin2009cAsym:res-2``.
    atlases : tuple of str
        Values of ``atlas-`` or ``seg-``, for series and matrices.
    doors : tuple of str
        ``bold``, ``timeseries``, ``relmat``.
    filters : tuple
        As `load_filters` returns them.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()
    atlases: tuple[str, ...] = ()
    doors: tuple[str, ...] = ()
    filters: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a data set holds.

    Parameters
    ----------
    runs : tuple of Run
        Usable runs, sorted by person, session, task, run.
    faults : tuple of Fault
        What cannot be used and why; `Fault.person` is set when it concerns one person.
    notes : tuple of str
        Choices made and things passed over, one sentence each.
    """

    runs: tuple[Run, ...]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


# --- names ---------------------------------------------------------------------------------------


def parse_name(name: str) -> Name | None:
    """Take a BIDS file name apart.

    Parameters
    ----------
    name : str
        File name without folders.

    Returns
    -------
    Name or None
        None when it is not ``key-value_..._suffix.extension`` with distinct keys.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    pairs = tuple(part.split("-", 1) for part in match[1][:-1].split("_"))
    if len({key for key, _ in pairs}) < len(pairs):
        return None
    return Name(tuple((key, value) for key, value in pairs), match[2], match[3])


def build_path(
    entities: Iterable[tuple[str, str]], suffix: str, extension: str, datatype: str = "func"
) -> Path:
    """Make the path of a file below the root of its data set.

    Parameters
    ----------
    entities : iterable of (str, str)
        In any order; those with an empty value are left out; keys that BIDS does not know go
        before ``desc``, in the order given.
    suffix, extension : str
        As in `Name`.
    datatype : str
        Folder; empty for none.

    Returns
    -------
    Path
        ``sub-X[/ses-Y]/func/sub-X[_ses-Y]..._suffix.extension``.

    Raises
    ------
    InputError
        If there is no ``sub``, a key is there twice, or a label holds anything but letters,
        digits and ``+``.
    """
    pairs = [(key, value) for key, value in entities if value]
    known = dict(pairs)
    bad = [f"{key}-{value}" for key, value in pairs if not _LABEL.fullmatch(value)]
    if bad or len(known) < len(pairs) or "sub" not in known:
        raise InputError(
            f"no BIDS name can be made of {', '.join(f'{k}-{v}' for k, v in pairs)}: it needs "
            "sub-, each key once, and labels of letters and digits"
        )
    pairs.sort(key=lambda pair: _PLACE.get(pair[0], _PLACE["desc"] - 0.5))
    name = "_".join([*(f"{key}-{value}" for key, value in pairs), suffix]) + extension
    folders = [f"sub-{known['sub']}"]
    folders += [f"ses-{known['ses']}"] if "ses" in known else []
    return Path(*folders, *([datatype] if datatype else []), name)


# --- one pass over the tree ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """A file that can be a run, and what lies beside it."""

    name: Name
    entry: "os.DirEntry[str]"
    door: Door
    beside: Mapping[str, "os.DirEntry[str]"]
    base: Path
    tier: int

    @property
    def participant(self) -> str:
        return self.name.get("sub")

    @property
    def atlas(self) -> str:
        return self.name.get("atlas") or self.name.get("seg")

    @property
    def space(self) -> str:
        cohort = self.name.get("cohort")
        return self.name.get("space") + (f":cohort-{cohort}" if cohort else "")

    @property
    def res(self) -> str:
        return self.name.get("res") or self.name.get("den")

    @property
    def acquired(self) -> tuple[tuple[str, str], ...]:
        """What tells one acquired run from another; ``run-1`` is ``run-01``."""
        return tuple(
            sorted(
                (key, str(int(value)) if key == "run" and value.isdecimal() else value)
                for key, value in self.name.entities
                if key not in _VARIANT and key not in _PARCELS
            )
        )

    @property
    def identity(self) -> tuple[object, ...]:
        """`acquired`, and the parcels that were averaged."""
        return (self.door, self.acquired, tuple(self.name.get(key) for key in _PARCELS))


@dataclass(slots=True)
class _Scan:
    """What one data set folder holds, and what was met on the way."""

    base: Path
    tier: int = 0
    files: list[_File] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)  # label -> why nothing is there
    counts: Counter[str] = field(default_factory=Counter)

    def root(self) -> None:
        """Walk over the data set."""
        here = self._list(self.base, "")
        for name in sorted(here):
            if name.startswith("sub-"):
                if self._is_folder(here[name], name[4:]):
                    self._person(here[name].path, name[4:])
                else:
                    self._take(here[name], here, {})
            elif _is_junk(name):
                self.counts["junk"] += 1

    def _person(self, path: str, label: str) -> None:
        self.people[label] = _NOTHING
        here = self._list(path, label)
        if not here:
            self.people[label] = "it is empty"
        self._folder(path, here, {"sub": label})
        for name in sorted(here):
            if name.startswith("ses-") and self._is_folder(here[name], label):
                session = here[name].path
                self._folder(session, self._list(session, label), {"sub": label, "ses": name[4:]})

    def _folder(
        self, path: str, here: Mapping[str, "os.DirEntry[str]"], folders: Mapping[str, str]
    ) -> None:
        """Take the files of a person's or session's folder, and of ``func`` in it."""
        self._files(here, folders)
        if "func" in here and self._is_folder(here["func"], folders["sub"]):
            self._files(self._list(f"{path}{os.sep}func", folders["sub"]), folders)

    def _files(self, here: Mapping[str, "os.DirEntry[str]"], folders: Mapping[str, str]) -> None:
        for name, entry in here.items():
            if name.endswith(_TAILS):
                self._take(entry, here, folders)
            elif name.endswith(_SURFACES):
                self.people[folders["sub"]] = "it holds surface or CIFTI images only"
            elif _is_junk(name):
                self.counts["junk"] += 1

    def _take(
        self,
        entry: "os.DirEntry[str]",
        here: Mapping[str, "os.DirEntry[str]"],
        folders: Mapping[str, str],
    ) -> None:
        """Keep a file that is a run at one of the doors."""
        if not entry.name.endswith(_TAILS):
            return
        if _is_junk(entry.name):
            self.counts["junk"] += 1
            return
        name = parse_name(entry.name)
        if name is None or not name.get("sub"):
            self._misnamed(entry, folders)
            return
        door = self._door(name)
        if door is None:
            return
        wrong = [f"{key}-{value}" for key, value in folders.items() if name.get(key) != value]
        if wrong:
            self.faults.append(
                Fault(
                    entry.path,
                    f"its name does not carry {' and '.join(wrong)} of the folder it is in",
                    "rename it or move it to its own folder",
                    folders["sub"],
                )
            )
            return
        self.files.append(_File(name, entry, door, here, self.base, self.tier))

    def _misnamed(self, entry: "os.DirEntry[str]", folders: Mapping[str, str]) -> None:
        person = folders.get("sub") or re.split(r"[_.]", entry.name[4:])[0]
        self.faults.append(
            Fault(
                entry.path,
                "its name is not built of key-value pairs as BIDS asks, so it is not read",
                "rename it (sub-X[_ses-Y]_task-Z..., letters and digits, each key once)",
                person,
            )
        )

    def _door(self, name: Name) -> Door | None:
        """Tell at which door a file stands; count what is passed over."""
        desc = name.get("desc")
        if name.suffix == "bold":
            return "bold" if desc == "preproc" and not self._is_echo(name) else None
        statistic = (name.get("stat") or name.get("meas")).lower()
        if desc == "confounds":
            return None
        if not (name.get("atlas") or name.get("seg")):
            self.counts["no atlas"] += 1
        elif name.suffix == "timeseries" and statistic in ("", "mean"):
            return "timeseries"
        elif name.suffix == "relmat" and statistic == "pearsoncorrelation":
            return "relmat"
        else:
            self.counts["statistic"] += 1
        return None

    def _is_echo(self, name: Name) -> bool:
        """Tell images of one echo of several, which fMRIPrep leaves on request."""
        if not name.get("echo"):
            return False
        self.counts["echo"] += 1
        self.people[name.get("sub")] = "it holds single echoes only, not their optimal combination"
        return True

    def _list(self, path: str | Path, person: str) -> dict[str, "os.DirEntry[str]"]:
        """List a folder; one that cannot be listed is a fault."""
        try:
            with os.scandir(path) as entries:
                return {entry.name: entry for entry in entries}
        except OSError as error:
            self.faults.append(
                Fault(
                    str(path),
                    f"the folder cannot be listed ({error.strerror})",
                    "give yourself the right to read it",
                    person,
                )
            )
            return {}

    def _is_folder(self, entry: "os.DirEntry[str]", person: str) -> bool:
        """Tell folders; a link to a folder that is not there is a fault."""
        if entry.is_dir():
            return True
        if entry.is_symlink() and not entry.name.endswith(_TAILS) and "." not in entry.name:
            self.people.setdefault(person, "")
            self.faults.append(
                Fault(entry.path, "the link leads nowhere", "fetch or mount its target", person)
            )
        return False


def _is_junk(name: str) -> bool:
    return name.startswith("._") or name in _JUNK


def _scan(base: Path, tier: int = 0) -> _Scan:
    scan = _Scan(base, tier)
    scan.root()
    return scan


def _scan_all(root: Path, notes: list[str]) -> list[_Scan]:
    """Scan the folder given or, when it has no preprocessed file, its derivatives."""
    if not root.is_dir():
        what = "it is a file, not a folder" if root.exists() else "there is no such folder"
        raise InputError(f"{root}: {what}; give the folder of the data set")
    own = _scan(root)
    if own.files:
        return [own]
    scans = [_scan(base, tier) for tier, base in _derivatives(root, notes)]
    used = [scan for scan in scans if scan.files]
    if used:
        where = ", ".join(str(scan.base.relative_to(root)) for scan in used)
        notes.append(f"Preprocessed files were found in {where}, below {root}.")
        return used
    faulty = [scan for scan in scans if scan.faults]
    return faulty or [own]


def _derivatives(root: Path, notes: list[str]) -> Iterator[tuple[int, Path]]:
    """Yield the folders below a data set that may hold derivatives, fMRIPrep's as tier 0."""
    derivatives = root / "derivatives"
    folders = sorted(derivatives.iterdir()) if derivatives.is_dir() else []
    # fMRIPrep before 21 wrote OUTPUT/fmriprep beside OUTPUT/freesurfer.
    folders += sorted(path for path in root.iterdir() if path.name.startswith("fmriprep"))
    for folder in folders:
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        if _generator(folder) == "circuitshift":
            notes.append(f"{folder} is output of circuitshift, so it is not taken as input.")
            continue
        yield int(not folder.name.startswith("fmriprep")), folder


def _generator(folder: Path) -> str:
    """Name of the program that made a derivative, as its description says; empty if unsaid."""
    path = folder / "dataset_description.json"
    try:
        makers = tables.read_json(path).get("GeneratedBy") if path.exists() else None
    except CircuitshiftError:
        return ""
    if isinstance(makers, list) and makers and isinstance(makers[0], dict):
        return str(makers[0].get("Name", ""))
    return ""


# --- from files to runs --------------------------------------------------------------------------


def find_runs(root: Path, query: Query = Query(), *, dataset: str = "") -> Found:
    """Find the functional runs of a data set.

    Parameters
    ----------
    root : Path
        Output of fMRIPrep (20 to 25) or XCP-D, any folder with ``*_timeseries.tsv`` or
        ``*_relmat.tsv``, or a raw data set with such folders in ``derivatives``.
    query : Query, optional
        What is wanted; all runs by default.
    dataset : str
        Name to write into each `Run`.

    Returns
    -------
    Found
        Runs whose files are all there and not empty. When a run is there in several spaces,
        resolutions or at several doors one is taken, and a note says which and why.

    Raises
    ------
    InputError
        If `root` is not a folder, or the query names an unknown door.
    """
    doors = _wanted_doors(query)
    notes: list[str] = []
    scans = _scan_all(Path(root), notes)
    files = [file for scan in scans for file in scan.files]
    faults = [fault for scan in scans for fault in scan.faults]
    files = [file for file in files if file.door in doors]
    faults += _people_without(Path(root), scans, files, query)
    faults += _unmatched(files, query)
    wants = {_plain(label, "sub") for label in query.participants}
    faults = [fault for fault in faults if not wants or not fault.person or fault.person in wants]
    files = [file for file in files if _matches(file, query)]
    files = _one_door(files, notes)
    files = _choose_all(files, query, notes, faults)
    files = _one_file_each(files, notes, faults)
    files = _without_joined(files, notes)
    runs = [run for file in files if (run := _make_run(file, dataset, faults)) is not None]
    _count_notes(scans, notes)
    runs.sort(key=lambda r: (r.participant, r.session, r.task, r.run, r.atlas, str(r.path)))
    return Found(tuple(runs), tuple(sorted(set(faults))), tuple(dict.fromkeys(notes)))


def _wanted_doors(query: Query) -> tuple[Door, ...]:
    unknown = sorted(set(query.doors) - set(_DOORS))
    if unknown:
        raise InputError(f"there is no door {unknown[0]!r}; the doors are {', '.join(_DOORS)}")
    return tuple(door for door in _DOORS if not query.doors or door in query.doors)


def _plain(label: str, key: str) -> str:
    return str(label).removeprefix(f"{key}-")


def _people_without(
    root: Path, scans: Sequence[_Scan], files: Sequence[_File], query: Query
) -> list[Fault]:
    """Name the people whose folder holds no run, or say once that nobody has one."""
    there = {file.participant for file in files}
    people = {label: (scan, why) for scan in scans for label, why in scan.people.items() if why}
    faulty = {fault.person for scan in scans for fault in scan.faults}
    known = there | faulty | set(people)
    asked = [_plain(label, "sub") for label in query.participants]
    faults = [
        Fault(
            f"sub-{label}",
            f"it is asked for, but {root} does not hold it",
            f"ask for one that is there{_nearest(label, known)}",
            label,
        )
        for label in asked
        if label not in known
    ]
    if not there and not faulty:
        kinds = " or ".join(query.doors) or "preprocessed image, time series or matrix"
        whys = Counter(why for _, why in people.values() if why != _NOTHING)
        reason = f" ({whys.most_common(1)[0][0]})" if whys else ""
        hint = "give the folder with fMRIPrep's output"
        return [*faults, Fault(str(root), f"nobody in it has any {kinds}{reason}", hint)]
    at_other_doors = {file.participant for scan in scans for file in scan.files} - there
    for label in sorted(set(people) - there - faulty):
        scan, why = people[label]
        if label in at_other_doors:
            why = f"it holds no run of the kind asked for ({', '.join(query.doors)})"
        fix = "preprocess or fetch this person's runs, or leave the person out"
        faults.append(Fault(str(scan.base / f"sub-{label}"), why, fix, label))
    return faults


def _nearest(word: str, known: Collection[str]) -> str:
    """Say what a misspelt word may have meant."""
    near = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.5)
    listed = near or sorted(known)[:10]
    return f" ({'nearest' if near else 'there'}: {', '.join(listed)})" if listed else ""


def _unmatched(files: Sequence[_File], query: Query) -> list[Fault]:
    """Name labels of the query that no file carries."""
    faults = []
    for option, asked, key in (
        ("--session-label", query.sessions, "ses"),
        ("--task-id", query.tasks, "task"),
        ("--space", query.spaces, "space"),
        ("--atlas", query.atlases, "atlas"),
    ):
        known = {file.atlas if key == "atlas" else file.name.get(key) for file in files} - {""}
        for label in asked:
            plain = _plain(label, key).split(":")[0]
            if files and plain not in known:
                faults.append(
                    Fault(
                        f"{key}-{plain}",
                        "it is asked for, but no run carries it",
                        f"correct {option}{_nearest(plain, known)}",
                    )
                )
    return faults


def _matches(file: _File, query: Query) -> bool:
    """Tell whether a file is asked for; spaces are seen to by `_choose_all`."""
    asked: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("sub", file.participant, query.participants),
        ("ses", file.name.get("ses"), query.sessions),
        ("task", file.name.get("task"), query.tasks),
    )
    for key, value, labels in asked:
        if labels and value not in {_plain(label, key) for label in labels}:
            return False
    if file.door != "bold" and query.atlases and file.atlas not in query.atlases:
        return False
    return all(
        _passes(file.name.get(_FILTER_KEYS[key]), values, _FILTER_KEYS[key])
        for name, pairs in query.filters
        if name == "bold"
        for key, values in pairs
        if key not in _FILTER_CONSTANTS
    )


def _passes(label: str, wanted: object, key: str) -> bool:
    """Compare a label with one or several values of a filter; ``1`` matches ``01``."""
    for value in wanted if isinstance(wanted, list | tuple) else (wanted,):
        if value is None or value == NONE:
            if not label:
                return True
        elif value in ("*", ANY):
            if label:
                return True
        else:
            text = _plain(str(value), key)
            if text == label:
                return True
            digits = key in _NUMBERED and text.isdecimal() and label.isdecimal()
            if digits and int(text) == int(label):
                return True
    return False


def _choose_all(
    files: list[_File], query: Query, notes: list[str], faults: list[Fault]
) -> list[_File]:
    """Keep one space, resolution and description of each run, the same for all people."""
    out: list[_File] = []
    for door in _DOORS:
        there = [file for file in files if file.door == door]
        there = _choose_space(there, query, notes, faults)
        there = _choose(there, lambda f: f.res, rank=_res_rank, what=(door, "res-"), notes=notes)
        there = _choose(
            there, lambda f: f.name.get("desc"), rank=str, what=(door, "desc-"), notes=notes
        )
        out += there
    return out


def _space_rank(query: Query) -> Callable[[str], tuple[int, str]]:
    """Make the order of preference of spaces."""
    asked = [space.split(":")[0] for space in query.spaces]
    order = [*asked, *(space for space in _SPACES if space not in asked)]

    def rank(space: str) -> tuple[int, str]:
        plain = space.split(":", maxsplit=1)[0]
        return (order.index(plain) if plain in order else len(order), space)

    return rank


def _choose_space(
    files: list[_File], query: Query, notes: list[str], faults: list[Fault]
) -> list[_File]:
    """Keep the space that most runs have; a run that lacks it is a fault."""
    door = files[0].door if files else "bold"
    if query.spaces:
        kept = [file for file in files if _in_asked_space(file, query.spaces)]
        # When nobody has it `_unmatched` says so once.
        faults += _lacking(files, kept, " or ".join(query.spaces)) if kept else []
        files = kept
    elif door == "bold":
        # Images on each person's own grid cannot be compared over people: a last resort.
        standard = [file for file in files if file.space not in _OWN_SPACES]
        if standard and len(standard) < len(files):
            faults += _lacking(files, standard, "a standard space")
            notes.append(
                f"{len(files) - len(standard)} images in the person's own space (no space- or "
                "space-T1w) are passed over for those in a standard space."
            )
            files = standard
    rank = _space_rank(query)
    kept = _choose(files, lambda f: f.space, rank=rank, what=(door, "space-"), notes=notes)
    best = {file.space for file in kept}
    if door == "bold" and len(best) > 1:
        chosen = _most(files, lambda f: f.space, rank)
        same = [file for file in kept if file.space == chosen]
        faults += _lacking(kept, same, chosen)
        return same
    return kept


def _in_asked_space(file: _File, spaces: Iterable[str]) -> bool:
    """Compare with ``SPACE``, ``SPACE:res-2`` or ``SPACE:cohort-1``."""
    held = {file.name.get("space"), *(f"{key}-{value}" for key, value in file.name.entities)}
    return any(set(_plain(space, "space").split(":")) <= held for space in spaces)


def _lacking(files: Iterable[_File], kept: Iterable[_File], space: str) -> list[Fault]:
    """Name the runs of which no file is kept."""
    have = {file.identity for file in kept}
    missing: dict[tuple[object, ...], list[_File]] = defaultdict(list)
    for file in files:
        if file.identity not in have:
            missing[file.identity].append(file)
    return [
        Fault(
            group[0].entry.path,
            f"this run is not there in {space}, only in "
            f"{', '.join(sorted({f.space or 'its own space' for f in group}))}",
            "write it in that space too (fMRIPrep --output-spaces), or choose another by --space",
            group[0].participant,
        )
        for group in missing.values()
    ]


def _res_rank(res: str) -> tuple[int, int, str]:
    """Prefer 2 mm, then the space's own grid, then smaller numbers."""
    order = {"2": 0, "02": 0, "": 1}.get(res, 2)
    return order, int(res) if res.isdecimal() else 10**6, res


def _most(files: Iterable[_File], value: Callable[[_File], str], rank: Callable[[str], Any]) -> str:
    """Value that most runs have; ties go to the first by `rank`."""
    counts = Counter(dict.fromkeys((file.identity, value(file)) for file in files))
    held = Counter(label for _, label in counts)
    return min(held, key=lambda label: (-held[label], rank(label)))


def _choose(
    files: list[_File],
    value: Callable[[_File], str],
    *,
    rank: Callable[[str], Any],
    what: tuple[str, str],
    notes: list[str],
) -> list[_File]:
    """Of the variants of each run keep the one most runs have, and say so when there was choice."""
    groups: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for file in files:
        groups[file.identity].add(value(file))
    if all(len(values) == 1 for values in groups.values()):
        return files
    best = _most(files, value, rank)
    taken = {
        identity: best if best in values else min(values, key=rank)
        for identity, values in groups.items()
    }
    door, key = what
    others = sorted({value(file) for file in files} - {best})
    notes.append(
        f"Runs at the {door} door are there with {_names(key, [best, *others])}; "
        f"{_names(key, [best])} is taken, which most runs have (on a tie the first of a fixed "
        "order)."
    )
    return [file for file in files if value(file) == taken[file.identity]]


def _names(key: str, values: Sequence[str]) -> str:
    return " and ".join(f"{key}{value}" if value else f"no {key}" for value in values)


def _one_door(files: list[_File], notes: list[str]) -> list[_File]:
    """Of a run at several doors keep the earliest: image, series, matrix."""
    images = {file.acquired for file in files if file.door == "bold"}
    series = {file.identity[1:] for file in files if file.door == "timeseries"}
    kept: list[_File] = []
    passed: Counter[str] = Counter()
    for file in files:
        if file.door != "bold" and file.acquired in images:
            passed[f"{file.door} file(s) are passed over for the preprocessed image"] += 1
        elif file.door == "relmat" and file.identity[1:] in series:
            passed["relmat file(s) are passed over for the time series"] += 1
        else:
            kept.append(file)
    notes += [f"{n} {what} of the same run." for what, n in sorted(passed.items())]
    doors = [door for door in _DOORS if any(file.door == door for file in kept)]
    if len(doors) > 1:
        notes.append(
            f"Some runs are there as {' only, others as '.join(doors)} only, so they were not "
            "denoised alike; --input-type takes one kind."
        )
    return kept


def _one_file_each(files: list[_File], notes: list[str], faults: list[Fault]) -> list[_File]:
    """Refuse runs that two files claim to be; fMRIPrep's folder goes before other derivatives."""
    groups: dict[tuple[object, ...], list[_File]] = defaultdict(list)
    for file in files:
        groups[file.identity].append(file)
    kept: list[_File] = []
    for group in groups.values():
        first = [file for file in group if file.tier == min(f.tier for f in group)]
        if len(first) < len(group):
            notes.append(f"Where several derivatives hold a run, {first[0].base} is used.")
        if len(first) == 1:
            kept += first
        else:
            faults.append(_twins(sorted(first, key=lambda f: f.entry.path)))
    return kept


def _twins(files: Sequence[_File]) -> Fault:
    """Say that several files claim to be one run: once for all runs when two folders clash."""
    bases = list(dict.fromkeys(str(file.base) for file in files))
    if len(bases) > 1:
        return Fault(
            " and ".join(bases), "they hold the same runs", "name the one to use by --derivatives"
        )
    return Fault(
        files[0].entry.path,
        f"{' and '.join(f.entry.name for f in files[1:])} claims to be the same run",
        "remove or rename one of them",
        files[0].participant,
    )


def _without_joined(files: list[_File], notes: list[str]) -> list[_File]:
    """Leave out series that XCP-D joined from several runs which are there too."""

    def joined(file: _File) -> tuple[object, ...]:
        pairs = tuple(pair for pair in file.acquired if pair[0] not in ("run", "dir"))
        return (file.door, pairs, *file.identity[2:])

    parts = {joined(file) for file in files if file.name.get("run")}
    kept = [f for f in files if f.door == "bold" or f.name.get("run") or joined(f) not in parts]
    if len(kept) < len(files):
        notes.append(
            f"{len(files) - len(kept)} file(s) without run- beside files with run- are taken for "
            "joined runs and passed over."
        )
    return kept


def _make_run(file: _File, dataset: str, faults: list[Fault]) -> Run | None:
    """Make the record of a run, or name every file of it that cannot be used."""
    problems = [_content_fault(file.entry, file.participant)]
    mask = confounds = None
    if file.door == "bold":
        keys = [pair for pair in file.name.entities if pair[0] != "desc"]
        masks = [_stem(keys, "desc-brain_mask") + tail for tail in (".nii.gz", ".nii")]
        mask = _partner(file, masks, "its brain mask", problems)
        keys = [pair for pair in keys if pair[0] not in _VARIANT]
        names = [
            _stem(keys, f"desc-confounds_{suffix}.tsv") for suffix in ("timeseries", "regressors")
        ]
        confounds = _partner(file, names, "its confounds table", problems)
    found = [problem for problem in problems if problem is not None]
    faults += found
    if found:
        return None
    name = file.name
    return Run(
        participant=file.participant,
        session=name.get("ses"),
        task=name.get("task"),
        run=name.get("run"),
        space=name.get("space"),
        res=name.get("res"),
        door=file.door,
        path=Path(file.entry.path),
        entities=name.entities,
        dataset=dataset,
        atlas=file.atlas if file.door != "bold" else "",
        mask=mask,
        confounds=confounds,
    )


def _stem(pairs: Iterable[tuple[str, str]], tail: str) -> str:
    return "_".join([*(f"{key}-{value}" for key, value in pairs), tail])


def _partner(
    file: _File, names: Sequence[str], what: str, problems: list[Fault | None]
) -> Path | None:
    """Find the file that belongs to an image; the first of `names` that is there."""
    entry = next((file.beside[name] for name in names if name in file.beside), None)
    if entry is None:
        problems.append(
            Fault(
                file.entry.path,
                f"{what} {names[0]} is not beside it",
                "fetch it or run fMRIPrep on this person again",
                file.participant,
            )
        )
        return None
    problems.append(_content_fault(entry, file.participant))
    return Path(entry.path)


def _content_fault(entry: "os.DirEntry[str]", person: str) -> Fault | None:
    """Tell from its stat alone that a file cannot be read."""
    try:
        if entry.is_dir():
            return Fault(entry.path, "it is a folder, not a file", "replace it", person)
        size = entry.stat().st_size
    except OSError as error:
        if entry.is_symlink():
            what = "its content was never fetched (the link leads nowhere)"
            return Fault(entry.path, what, "run `datalad get` or `git annex get` on it", person)
        return Fault(entry.path, f"it cannot be read ({error.strerror})", "fetch it again", person)
    return None if size else Fault(entry.path, "it is empty (0 bytes)", "fetch it again", person)


def _count_notes(scans: Sequence[_Scan], notes: list[str]) -> None:
    """Say how many files were passed over, by reason."""
    counts = sum((scan.counts for scan in scans), Counter[str]())
    reasons = {
        "junk": "{} file(s) left by macOS or Windows (._*, .DS_Store, Thumbs.db) are passed over.",
        "echo": "{} image(s) of single echoes are passed over for their optimal combination.",
        "no atlas": "{} table(s) without atlas- or seg- in their name are passed over.",
        "statistic": "{} table(s) are passed over that are neither means of regions nor Pearson "
        "correlations (stat-mean_timeseries, stat-pearsoncorrelation_relmat).",
    }
    notes += [text.format(counts[key]) for key, text in reasons.items() if counts[key]]


# --- one run at processing time ------------------------------------------------------------------


def check_run(run: Run) -> tuple[Run, tuple[Fault, ...], tuple[str, ...]]:
    """Read the header and sidecars of a run: its repetition time, and whether its files fit.

    Parameters
    ----------
    run : Run
        From `find_runs`.

    Returns
    -------
    run : Run
        With `Run.t_r_s`, s, when it is known.
    faults : tuple of Fault
        A damaged image, a mask on another grid, no repetition time.
    notes : tuple of str
        What was converted or in conflict.
    """
    faults: list[Fault] = []
    notes: list[str] = []
    header = _check_image(run, faults) if run.door == "bold" else None
    try:
        stated = _stated_t_r(run, notes)
    except CircuitshiftError as error:
        faults.append(_as_fault(error, run))
        return run, tuple(faults), ()
    if header is not None:
        header = _in_seconds(header, f"{run.path.name}: the header's repetition time", notes)
    if stated is not None and header is not None and abs(stated - header) > 1e-3:
        notes.append(
            f"{run.path.name}: the repetition time is {stated:g} s in its JSON and {header:g} s in "
            "its header; the JSON is followed."
        )
    t_r_s = stated if stated is not None else header
    if t_r_s is None and run.door == "bold" and not faults:
        faults.append(
            Fault(
                str(run.path),
                "its repetition time is neither in a JSON sidecar nor in its header",
                "write RepetitionTime, in seconds, into its JSON",
                run.participant,
            )
        )
    if stated is None:
        told = f"{t_r_s:g} s is its header's" if t_r_s else "its minutes are unknown"
        notes.append(f"{run.path.name}: no JSON states its repetition time; {told}.")
    return replace(run, t_r_s=t_r_s), tuple(faults), tuple(notes)


def _as_fault(error: CircuitshiftError, run: Run) -> Fault:
    """Turn an error that begins with a file name into a fault of a person."""
    where, _, what = str(error).partition(": ")
    clause, _, fix = (what or where).rpartition("; ")
    fault = (clause, fix) if clause else (fix, "fetch or write it again")
    return Fault(where if what else str(run.path), *fault, run.participant)


def _check_image(run: Run, faults: list[Fault]) -> float | None:
    """Check that image and mask can be read and fit; return the header's repetition time."""
    try:
        header = nifti.read_header(run.path)
        mask = nifti.read_header(run.mask) if run.mask is not None else None
    except CircuitshiftError as error:
        faults.append(_as_fault(error, run))
        return None
    if header.n_volumes < 2:
        what = "it holds one volume, not a series"
        faults.append(Fault(str(run.path), what, "preprocess the run again", run.participant))
    if mask is not None and mask.grid != header.grid:
        sizes = ["x".join(map(str, grid)) for grid in (mask.grid, header.grid)]
        what = f"its grid is {sizes[0]}, that of its image {sizes[1]}"
        faults.append(Fault(str(run.mask), what, "preprocess the run again", run.participant))
    return header.t_r_s


def _in_seconds(value: float, what: str, notes: list[str]) -> float:
    """Convert a repetition time that can only be milliseconds."""
    if value < _MILLISECONDS_FROM:
        return value
    notes.append(f"{what} is {value:g}, taken for milliseconds: {value / 1000:g} s.")
    return value / 1000


def _stated_t_r(run: Run, notes: list[str]) -> float | None:
    """Repetition time from the nearest sidecar that applies, s; None when none states it."""
    for path in _sidecars(run):
        content = tables.read_json(path)
        value = content.get("RepetitionTime")
        if value is not None:
            return _in_seconds(
                _positive(path, "RepetitionTime", value), f"{path.name}: RepetitionTime", notes
            )
        rate = content.get("SamplingFrequency")
        if rate is not None and run.door == "timeseries":
            return 1 / _positive(path, "SamplingFrequency", rate)
    return None


def _positive(path: Path, key: str, value: object) -> float:
    """Check a number of a sidecar."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{path}: {key} is {value!r}; write it as a positive number")
    return float(value)


def _sidecars(run: Run) -> Iterator[Path]:
    """Yield the JSON files that apply to a run by BIDS inheritance, nearest first.

    In each folder from the file's own up to the root of its data set: those of its suffix whose
    entities it all carries, most specific first; for series and matrices then those of the image
    they were made from.
    """
    suffixes = [run.door] if run.door == "bold" else [run.door, "timeseries", "bold"]
    levels = list(_levels(run))
    listed = [_json_names(folder) for folder in levels]
    carried = set(run.entities)
    source = {pair for pair in carried if pair[0] not in _VARIANT and pair[0] not in _PARCELS}
    for suffix in dict.fromkeys(suffixes):
        for folder, names in zip(levels, listed, strict=True):
            fitting = []
            for name in names:
                # What an image's sidecar adds (space, desc) does not bear on the timing.
                kept = {
                    pair for pair in name.entities if suffix == run.door or pair[0] not in _VARIANT
                }
                if name.suffix == suffix and kept <= (carried if suffix == run.door else source):
                    fitting.append(name)
            fitting.sort(key=lambda name: (-len(name.entities), name.entities))
            for name in fitting:
                stem = "_".join(f"{key}-{value}" for key, value in name.entities)
                yield folder / f"{stem}{'_' if stem else ''}{name.suffix}.json"


def _levels(run: Run) -> Iterator[Path]:
    """Yield the folder of a file and those above it, up to the root of its data set."""
    folder = run.path.parent
    yield folder
    for expected in ("func", f"ses-{run.session}", f"sub-{run.participant}"):
        if folder.name == expected:
            folder = folder.parent
            yield folder


def _json_names(folder: Path) -> list[Name]:
    """Names of the sidecars in a folder; ``bold.json`` at a root has no entities."""
    out = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and not _is_junk(entry.name):
                stem = entry.name.removesuffix(".json")
                name = Name((), stem, ".json") if stem.isalnum() else parse_name(entry.name)
                if name is not None:
                    out.append(name)
    return out


# --- filter files --------------------------------------------------------------------------------


def load_filters(path: Path) -> tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]:
    """Read a ``--bids-filter-file`` as fMRIPrep takes it.

    Parameters
    ----------
    path : Path
        JSON: ``{"bold": {"task": "rest", "session": ["pre", "post"], "run": [1, 2]}}``. ``null``
        or ``"Query.NONE"`` asks for files without the entity, ``"*"`` or ``"Query.ANY"`` for
        files with any value of it.

    Returns
    -------
    tuple
        ``(("bold", ((entity, value), ...)),)``, for `Query.filters`; empty when the file has no
        query of that name. Values are text or tuples of text. Queries for other images are
        checked for their names and left out.

    Raises
    ------
    InputError
        If the file cannot be read, or names an unknown query or entity.
    """
    content = tables.read_json(path)
    for name in content:
        if name not in _FILTER_QUERIES:
            raise InputError(
                f"{path}: there is no query {name!r}; use bold{_nearest(name, _FILTER_QUERIES)}"
            )
    wanted = content.get("bold")
    if wanted is None:
        return ()
    if not isinstance(wanted, dict):
        raise InputError(f"{path}: bold must hold an object of entities and values")
    known = {*_FILTER_KEYS, *_FILTER_CONSTANTS}
    for entity in wanted:
        if entity not in known:
            raise InputError(
                f"{path}: bold has no entity {entity!r}; correct it{_nearest(entity, known)}"
            )
    pairs = tuple((entity, _filter_value(path, entity, v)) for entity, v in wanted.items())
    return (("bold", pairs),)


def _filter_value(path: Path, entity: str, value: object) -> str | tuple[str, ...]:
    """Bring a filter's value into one form, and refuse what can match nothing."""
    items = value if isinstance(value, list) else [value]
    out = []
    for item in items:
        if item is None:
            out.append(NONE)
        elif isinstance(item, str | int | float) and not isinstance(item, bool):
            text = {
                "*": ANY,
                "Query.OPTIONAL": "",
                "Query.REQUIRED": ANY,
                "<Query.NONE: 1>": NONE,
            }.get(str(item), str(item))
            out += [text] if text else [NONE, ANY]
        else:
            raise InputError(
                f'{path}: {entity} is {item!r}; give a label, a list of labels, null or "*"'
            )
    constant = _FILTER_CONSTANTS.get(entity)
    if constant and not set(out) & {*constant, ANY}:
        raise InputError(
            f"{path}: {entity} is {value!r}, which no run carries; it may be {', '.join(constant)}"
        )
    return tuple(out) if isinstance(value, list) or len(out) > 1 else out[0]


# --- what an output folder says of itself --------------------------------------------------------

_IGNORED = ("*.html", "group/", "logs/", "figures/")


def write_dataset_description(
    out_dir: Path,
    *,
    name: str,
    sources: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
) -> None:
    """Write ``dataset_description.json`` and ``.bidsignore`` of an output folder.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative data set; made when it is not there.
    name : str
        Name of the data set.
    sources : sequence of str
        Folders, URLs or DOIs (``doi:...``) it was made from.
    links : mapping of str to str, optional
        Names used in ``bids:NAME:...`` references, and the folder or URL of each.

    Raises
    ------
    InputError
        If the folder is a data set that another program made.
    """
    path = out_dir / "dataset_description.json"
    if path.exists():
        maker = _generator(out_dir)
        if maker != "circuitshift":
            raise InputError(
                f"{out_dir}: it is a data set {f'of {maker}' if maker else 'already'}; choose "
                "another output folder, nothing is written into it"
            )
    content: dict[str, object] = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "circuitshift", "Version": __version__}],
    }
    if sources:
        content["SourceDatasets"] = [
            {"DOI" if text.startswith("doi:") else "URL": _url(text)} for text in sources
        ]
    if links:
        content["DatasetLinks"] = {key: _url(text) for key, text in links.items()}
    tables.write_json(path, content)
    tables.write_text(out_dir / ".bidsignore", "\n".join(_IGNORED) + "\n")


def _url(text: str) -> str:
    """Write a folder as a URL; what is one already, or a DOI, stays."""
    is_url = text.startswith("doi:") or "://" in text
    return text if is_url else Path(text).resolve().as_uri()
