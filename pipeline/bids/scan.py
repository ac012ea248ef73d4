"""One pass over the folders of a data set: the files that can be runs, and what was met on the way.

Entities come from file names alone, so what the folders above the data set are called cannot
matter. Nothing is kept between calls, nothing is written.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from circuitshift.pipeline.bids.description import generator
from circuitshift.pipeline.bids.names import PARCELS, VARIANT, Name, is_junk, parse_name
from circuitshift.pipeline.errors import InputError, InputProblem
from circuitshift.pipeline.records import InputType

__all__ = ["NOTHING", "File", "Scan", "scan_all"]

NOTHING = "it holds no preprocessed run"
_TAILS = ("_bold.nii.gz", "_bold.nii", "_timeseries.tsv", "_relmat.tsv")
_SURFACES = (".dtseries.nii", ".func.gii")


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """A file that can be a run, and what lies beside it."""

    name: Name
    entry: "os.DirEntry[str]"
    input_type: InputType
    beside: Mapping[str, "os.DirEntry[str]"]
    base: Path
    tier: int

    @property
    def participant(self) -> str:
        """Label without ``sub-``."""
        return self.name.get("sub")

    @property
    def atlas(self) -> str:
        """Value of ``atlas-`` or, as XCP-D has it, ``seg-``."""
        return self.name.get("atlas") or self.name.get("seg")

    @property
    def space(self) -> str:
        """Value of ``space-``, with its cohort where templates have several."""
        cohort = self.name.get("cohort")
        return self.name.get("space") + (f":cohort-{cohort}" if cohort else "")

    @property
    def res(self) -> str:
        """Value of ``res-`` or, for surfaces, ``den-``."""
        return self.name.get("res") or self.name.get("den")

    @property
    def acquired(self) -> tuple[tuple[str, str], ...]:
        """What tells one acquired run from another; ``run-1`` is ``run-01``."""
        return tuple(
            sorted(
                (key, str(int(value)) if key == "run" and value.isdecimal() else value)
                for key, value in self.name.entities
                if key not in VARIANT and key not in PARCELS
            )
        )

    @property
    def identity(self) -> tuple[object, ...]:
        """`acquired`, and the parcels that were averaged."""
        return (self.input_type, self.acquired, tuple(self.name.get(key) for key in PARCELS))


@dataclass(slots=True)
class Scan:
    """What one data set folder holds, and what was met on the way."""

    base: Path
    tier: int = 0
    files: list[File] = field(default_factory=list)
    problems: list[InputProblem] = field(default_factory=list)
    participants: dict[str, str] = field(default_factory=dict)  # label -> why nothing is there
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
            elif is_junk(name):
                self.counts["junk"] += 1

    def _person(self, path: str, label: str) -> None:
        self.participants[label] = NOTHING
        here = self._list(path, label)
        if not here:
            self.participants[label] = "it is empty"
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
                self.participants[folders["sub"]] = "it holds surface or CIFTI images only"
            elif is_junk(name):
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
        if is_junk(entry.name):
            self.counts["junk"] += 1
            return
        name = parse_name(entry.name)
        if name is None or not name.get("sub"):
            self._misnamed(entry, folders)
            return
        input_type = self._input_type(name)
        if input_type is None:
            return
        wrong = [f"{key}-{value}" for key, value in folders.items() if name.get(key) != value]
        if wrong:
            self.problems.append(
                InputProblem(
                    entry.path,
                    f"its name does not carry {' and '.join(wrong)} of the folder it is in",
                    "rename it or move it to its own folder",
                    folders["sub"],
                )
            )
            return
        self.files.append(File(name, entry, input_type, here, self.base, self.tier))

    def _misnamed(self, entry: "os.DirEntry[str]", folders: Mapping[str, str]) -> None:
        person = folders.get("sub") or re.split(r"[_.]", entry.name[4:])[0]
        self.problems.append(
            InputProblem(
                entry.path,
                "its name is not built of key-value pairs as BIDS asks, so it is not read",
                "rename it (sub-X[_ses-Y]_task-Z..., letters and digits, each key once)",
                person,
            )
        )

    def _input_type(self, name: Name) -> InputType | None:
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
        self.participants[name.get("sub")] = (
            "it holds single echoes only, not their optimal combination"
        )
        return True

    def _list(self, path: str | Path, person: str) -> dict[str, "os.DirEntry[str]"]:
        """List a folder; one that cannot be listed is a fault."""
        try:
            with os.scandir(path) as entries:
                return {entry.name: entry for entry in entries}
        except OSError as error:
            self.problems.append(
                InputProblem(
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
            self.participants.setdefault(person, "")
            self.problems.append(
                InputProblem(
                    entry.path, "the link leads nowhere", "fetch or mount its target", person
                )
            )
        return False


def _scan(base: Path, tier: int = 0) -> Scan:
    scan = Scan(base, tier)
    scan.root()
    return scan


def scan_all(root: Path, notes: list[str]) -> list[Scan]:
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
    faulty = [scan for scan in scans if scan.problems]
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
        if not any(folder.iterdir()):
            notes.append(
                f"{folder} is empty; if it is a DataLad subdataset, run `datalad get -n` on it."
            )
            continue
        if generator(folder) == "circuitshift":
            notes.append(f"{folder} is output of circuitshift, so it is not taken as input.")
            continue
        yield int(not folder.name.startswith("fmriprep")), folder
