"""Scan the folders of a data set once for files that may be runs.

Entities are read from file names only, so that names of folders above the data set have no effect.
Nothing is cached between calls, and nothing is written.
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from circuitshift.pipeline.bids.input_types import FILE_ENDINGS, INPUT_TYPES, InputType
from circuitshift.pipeline.bids.names import (
    PARCELS,
    Name,
    acquired,
    is_junk,
    is_label,
    parse_name,
)
from circuitshift.pipeline.bids.runs.folders import SEARCH_DEPTH, derivative_levels, tier_of
from circuitshift.pipeline.bids.runs.versions import part_is_run
from circuitshift.pipeline.errors import InputError, InputProblem

__all__ = ["NO_RUN", "File", "Scan", "check_folder", "refused_folder", "scan_all"]

NO_RUN = "it contains no preprocessed run"
_MAX_LISTED = 12  # folders in a message
_SURFACES = (".dtseries.nii", ".func.gii")


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """A file that may be a run.

    Parameters
    ----------
    name : Name
        Parsed file name.
    entry : os.DirEntry
        The file.
    input_type : InputType
        Record of its input type.
    siblings : mapping of str to os.DirEntry
        All files in the folder of the file, by name.
    base : Path
        Root of the data set that contains the file.
    tier : int
        Priority of the data set: 0 for output of fMRIPrep or the requested folder, 1 for other
        derivatives.
    """

    name: Name
    entry: "os.DirEntry[str]"
    input_type: InputType
    siblings: Mapping[str, "os.DirEntry[str]"]
    base: Path
    tier: int

    @property
    def is_image(self) -> bool:
        """Whether it is an image and not a table of regions."""
        return self.input_type.content == "image"

    @property
    def participant(self) -> str:
        """Label without ``sub-``."""
        return self.name.get("sub")

    @property
    def atlas(self) -> str:
        """Value of ``atlas-`` or, in output of XCP-D, ``seg-``."""
        return self.name.get("atlas") or self.name.get("seg")

    @property
    def space(self) -> str:
        """Value of ``space-``, with the cohort for templates that have several."""
        cohort = self.name.get("cohort")
        return self.name.get("space") + (f":cohort-{cohort}" if cohort else "")

    @property
    def res(self) -> str:
        """Value of ``res-`` or, for surfaces, ``den-``."""
        return self.name.get("res") or self.name.get("den")

    @property
    def acquired(self) -> tuple[tuple[str, str], ...]:
        """Entities that identify the acquired run; see `names.acquired`."""
        return acquired(self.name)

    @property
    def identity(self) -> tuple[object, ...]:
        """Input type, `acquired`, and the entities of the parcellation."""
        return (self.input_type, self.acquired, tuple(self.name.get(key) for key in PARCELS))


@dataclass(slots=True)
class Scan:
    """Files of one data set folder, with problems and counts of ignored files.

    Parameters
    ----------
    base : Path
        Root of the data set.
    tier : int
        Priority of the data set; see `File`.
    files : list of File
        Files that may be runs.
    problems : list of InputProblem
        Files and folders that cannot be read, or have invalid names.
    participants : dict of str to str
        Labels of participants, with the reason why no run of theirs was found.
    counts : Counter
        Number of ignored files by reason.
    """

    base: Path
    tier: int = 0
    files: list[File] = field(default_factory=list)
    problems: list[InputProblem] = field(default_factory=list)
    participants: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def walk(self) -> None:
        """Scan all folders that may contain runs."""
        entries = self._list(self.base, "")
        for name in sorted(entries):
            if name.startswith("sub-"):
                self._add_entry(entries[name], entries)
            elif is_junk(name):
                self.counts["junk"] += 1
            elif name.lower().startswith("sub-") and self._is_folder(entries[name], ""):
                self._refuse_folder(entries[name], "", "sub-")

    def _add_entry(
        self, entry: "os.DirEntry[str]", entries: Mapping[str, "os.DirEntry[str]"]
    ) -> None:
        """Scan an entry ``sub-*`` of the data set: the folder of a participant, or a file."""
        label = entry.name[4:]
        participant = label if is_label(label) else ""
        if self._is_folder(entry, participant):
            if participant:
                self._scan_participant(entry.path, label)
            else:  # a copy or backup must not become a participant
                self._refuse_folder(entry, "", "sub-")
        elif participant and not entry.is_symlink():
            self.participants.setdefault(label, "")
            self._refuse_file(entry, label)
        else:
            self._add_file(entry, entries, {})

    def _scan_participant(self, path: str, label: str) -> None:
        """Scan the folder of a participant and those of their sessions."""
        self.participants[label] = NO_RUN
        entries = self._list(path, label)
        if not entries:
            self.participants[label] = "it is empty"
        self._scan_folder(path, entries, {"sub": label})
        for name in sorted(entries):
            if name.startswith("ses-"):
                self._scan_session(entries[name], label)

    def _scan_session(self, entry: "os.DirEntry[str]", participant: str) -> None:
        """Scan the folder of a session."""
        session = entry.name[4:]
        if not self._is_folder(entry, participant):
            if is_label(session) and not entry.is_symlink():
                self._refuse_file(entry, participant)
        elif is_label(session):
            folders = {"sub": participant, "ses": session}
            self._scan_folder(entry.path, self._list(entry.path, participant), folders)
        else:
            self._refuse_folder(entry, participant, "ses-")

    def _refuse_folder(self, entry: "os.DirEntry[str]", participant: str, prefix: str) -> None:
        """Report a folder that is not read because of its name."""
        self.problems.append(refused_folder(entry.path, participant, prefix))

    def _refuse_file(self, entry: "os.DirEntry[str]", participant: str) -> None:
        """Report an entry with the name of a folder that is not a folder."""
        self.problems.append(
            InputProblem(entry.path, "it is not a folder", "replace it by the folder", participant)
        )

    def _scan_folder(
        self, path: str, entries: Mapping[str, "os.DirEntry[str]"], folders: Mapping[str, str]
    ) -> None:
        """Scan the folder of a participant or session, and ``func`` in it."""
        self._add_files(entries, folders)
        if "func" not in entries:
            return
        if self._is_folder(entries["func"], folders["sub"]):
            self._add_func(f"{path}{os.sep}func", folders)
        elif not entries["func"].is_symlink():
            self._refuse_file(entries["func"], folders["sub"])

    def _add_func(self, path: str, folders: Mapping[str, str]) -> None:
        """Add the runs in ``func``, and in ``func/task-*``, where HALFpipe writes series."""
        entries = self._list(path, folders["sub"])
        self._add_files(entries, folders)
        for name in sorted(entries):
            if name.startswith("task-") and entries[name].is_dir():
                self._add_files(self._list(entries[name].path, folders["sub"]), folders)

    def _add_files(
        self, entries: Mapping[str, "os.DirEntry[str]"], folders: Mapping[str, str]
    ) -> None:
        """Add the runs in a folder, and count ignored files."""
        for name, entry in entries.items():
            if name.endswith(FILE_ENDINGS):
                self._add_file(entry, entries, folders)
            elif name.endswith(_SURFACES):
                self.participants[folders["sub"]] = "it contains surface or CIFTI images only"
            elif is_junk(name):
                self.counts["junk"] += 1

    def _add_file(
        self,
        entry: "os.DirEntry[str]",
        entries: Mapping[str, "os.DirEntry[str]"],
        folders: Mapping[str, str],
    ) -> None:
        """Add a file if it is a run of one of the input types."""
        if not entry.name.endswith(FILE_ENDINGS):
            return
        if is_junk(entry.name):
            self.counts["junk"] += 1
            return
        name = parse_name(entry.name)
        if name is None or not name.get("sub"):
            self._report_invalid_name(entry, folders)
            return
        input_type = self._input_type(name)
        if input_type is None or self._is_part(name):
            return
        mismatched = [f"{key}-{value}" for key, value in folders.items() if name.get(key) != value]
        if mismatched:
            self.problems.append(
                InputProblem(
                    entry.path,
                    f"its name lacks {' and '.join(mismatched)} of the folder that contains it",
                    "rename it or move it to the correct folder",
                    folders["sub"],
                )
            )
            return
        self.files.append(File(name, entry, input_type, entries, self.base, self.tier))

    def _report_invalid_name(self, entry: "os.DirEntry[str]", folders: Mapping[str, str]) -> None:
        """Report a file whose name is not valid in BIDS."""
        participant = folders.get("sub") or re.split(r"[_.]", entry.name[4:])[0]
        self.problems.append(
            InputProblem(
                entry.path,
                "its name does not consist of key-value pairs as BIDS requires, so it is not read",
                "rename it (sub-X[_ses-Y]_task-Z..., letters and digits, each key once)",
                participant,
            )
        )

    def _input_type(self, name: Name) -> InputType | None:
        """Determine the input type of a file; None, and a count, for other files."""
        fitting = [
            kind
            for kind in INPUT_TYPES.values()
            if name.suffix in kind.suffixes and name.extension in kind.extensions
        ]
        obstacles = [kind.obstacle(name) or _obstacle_of_versions(name) for kind in fitting]
        if "" in obstacles:
            return fitting[obstacles.index("")]
        reason = obstacles[0] if obstacles else "other"
        if reason != "other":
            self.counts[reason] += 1
        if reason == "echo":  # an option of fMRIPrep
            self.participants[name.get("sub")] = (
                "it contains single echoes only, not their optimal combination"
            )
        return None

    def _is_part(self, name: Name) -> bool:
        """Return whether an image is a phase, real or imaginary part, and count it."""
        if part_is_run(name):
            return False
        self.counts["part"] += 1
        if self.participants.get(name.get("sub")) == NO_RUN:
            self.participants[name.get("sub")] = (
                "it contains phase, real or imaginary images only, not their magnitude"
            )
        return True

    def _list(self, path: str | Path, participant: str) -> dict[str, "os.DirEntry[str]"]:
        """List a folder by name; a folder that cannot be listed is a problem."""
        try:
            with os.scandir(path) as entries:
                return {entry.name: entry for entry in entries}
        except OSError as error:
            self.problems.append(
                InputProblem(
                    str(path),
                    f"the folder cannot be listed ({error.strerror})",
                    "grant yourself read permission",
                    participant,
                )
            )
            return {}

    def _is_folder(self, entry: "os.DirEntry[str]", participant: str) -> bool:
        """Return whether an entry is a folder; a link that leads nowhere is a problem."""
        is_folder, problem = check_folder(entry, participant)
        if problem is not None:
            self.participants.setdefault(participant, "")
            self.problems.append(problem)
        return is_folder


def refused_folder(path: str, participant: str, prefix: str) -> InputProblem:
    """Report a folder of a participant or session whose name is not a label.

    Parameters
    ----------
    path : str
        The folder.
    participant : str
        Participant that the folder belongs to; empty for folders of the data set, so that copies
        and backups do not become participants.
    prefix : {"sub-", "ses-"}
        How the name should begin.

    Returns
    -------
    InputProblem
    """
    return InputProblem(
        path,
        f"its name is not {prefix} followed by letters and digits, so it is not read",
        f"rename it ({prefix}X), or move it out of the data set",
        participant,
    )


def check_folder(entry: "os.DirEntry[str]", participant: str) -> tuple[bool, InputProblem | None]:
    """Check whether an entry of a data set is a folder.

    Parameters
    ----------
    entry : os.DirEntry
        The entry.
    participant : str
        Participant that it belongs to.

    Returns
    -------
    is_folder : bool
    problem : InputProblem or None
        For a link that leads nowhere or to itself, and for a folder that may not be looked at.
    """
    try:
        if entry.is_dir():
            return True, None
    except OSError as error:
        if error.errno == errno.ELOOP:
            what = "it is a link that leads to itself"
            return False, InputProblem(entry.path, what, "replace it by the folder", participant)
        what = f"it cannot be read ({error.strerror})"
        return False, InputProblem(entry.path, what, "grant yourself read permission", participant)
    if entry.is_symlink() and not entry.name.endswith(FILE_ENDINGS) and "." not in entry.name:
        fix = "fetch or mount its target"
        return False, InputProblem(entry.path, "it is a broken link", fix, participant)
    return False, None


def _obstacle_of_versions(name: Name) -> str:
    """Return ``echo`` for files of single echoes, which are not runs."""
    return "echo" if name.get("echo") else ""


def _scan(base: Path, tier: int = 0) -> Scan:
    """Scan one data set folder."""
    scan = Scan(base, tier)
    scan.walk()
    return scan


def scan_all(root: Path, notes: list[str]) -> list[Scan]:
    """Scan a folder or, if it contains no preprocessed file, the nearest derivatives below it.

    Parameters
    ----------
    root : Path
        Folder of a data set.
    notes : list of str
        List to which notes are added.

    Returns
    -------
    list of Scan
        Scans that contain files; if there are none, those with problems, or that of `root`.

    Raises
    ------
    InputError
        If `root` is not a folder.
    """
    if not root.is_dir():
        what = "it is a file, not a folder" if root.exists() else "there is no such folder"
        raise InputError(f"{root}: {what}; give the folder of the data set")
    own = _scan(root)
    if own.files:
        return [own]
    faulty: list[Scan] = []
    searched = [root]
    for folders in derivative_levels(root, notes):
        scans = [_scan(base, tier_of(base, root)) for base in folders]
        searched += folders
        used = [scan for scan in scans if scan.files]
        if used:
            where = ", ".join(str(scan.base.relative_to(root)) for scan in used)
            notes.append(f"Preprocessed files were found in {where}, below {root}.")
            return used
        faulty += [scan for scan in scans if scan.problems]
    if len(searched) > 1:
        listed = ", ".join(map(str, searched[:_MAX_LISTED]))
        more = f" and {len(searched) - _MAX_LISTED} more" if len(searched) > _MAX_LISTED else ""
        notes.append(
            f"No preprocessed file was found in {listed}{more}; folders up to {SEARCH_DEPTH} "
            "levels below were searched."
        )
    return faulty or [own]
