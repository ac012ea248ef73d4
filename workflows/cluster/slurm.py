"""Slurm scripts of a study: an array job with one person a task, then the group level.

Nothing here is run by the shell that came from a file name: every path is one quoted word, people
are lines of a table that the task reads, and numbers are numbers. What was submitted stays as it
is, since each call writes into a folder of its own: a task that waits in the queue never reads a
list that changed.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.workflows.cluster.resources import Request
from circuitshift.workflows.plan import ParticipantPlan

__all__ = [
    "Batch",
    "Container",
    "DataSetCall",
    "scripts",
    "submit",
    "waiting",
    "write_batch",
]

_FOLDER = Path("logs", "slurm")


@dataclass(frozen=True, slots=True)
class Container:
    """An Apptainer image, and what it must see.

    Parameters
    ----------
    image : Path
    read_only, writable : tuple of Path
        Folders that are bound at their own paths; the root of the image is read-only.
    templateflow_home : Path, optional
        TemplateFlow's cache of the host; None keeps the one in the image.
    """

    image: Path
    read_only: tuple[Path, ...]
    writable: tuple[Path, ...]
    templateflow_home: Path | None = None


@dataclass(frozen=True, slots=True)
class DataSetCall:
    """How the participant level of one data set is called, but for the person.

    Parameters
    ----------
    name : str
        Empty for the main data set.
    words : tuple of str
        What follows ``circuitshift``.
    """

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that the scripts say.

    Parameters
    ----------
    out_dir, work_dir : Path
        Root of the output data set, and the scratch folder; each task has its own in it.
    participants : tuple of PersonPlan
        One task each; may be empty.
    calls : tuple of DataSetCall
    group : tuple of str, optional
        What follows ``circuitshift`` at the group level; None for participants only.
    for_participant, for_group : Request
    cpus : int
        Of each task.
    at_once : int
        Tasks that may run at the same time.
    array_size : int
        Tasks of one array; more people make more arrays, one after the other.
    sbatch_args : tuple of str
        Further words for ``sbatch``.
    container : Container, optional
        None runs this Python.
    """

    out_dir: Path
    work_dir: Path
    participants: tuple[ParticipantPlan, ...]
    calls: tuple[DataSetCall, ...]
    group: tuple[str, ...] | None
    for_participant: Request
    for_group: Request
    cpus: int = 1
    at_once: int = 20
    array_size: int = 1000
    sbatch_args: tuple[str, ...] = ()
    container: Container | None = None


# ---------------------------------------------------------------------------------- scripts


def write_batch(batch: Batch) -> Path:
    """Write the scripts into a new folder below ``logs/slurm`` of the output data set.

    Parameters
    ----------
    batch : Batch

    Returns
    -------
    Path
        ``submit.sh``; beside it ``participant.sbatch``, ``group.sbatch`` and ``people.tsv``.

    Raises
    ------
    InputError
        If a path holds a line break, or the folder cannot be made.
    """
    _refuse_line_breaks(batch)
    folder = _new_folder(batch.out_dir / _FOLDER)
    for name, text in scripts(batch, folder).items():
        tables.write_text(folder / name, text)
    return folder / "submit.sh"


def scripts(batch: Batch, folder: Path) -> dict[str, str]:
    """Return the text of every file.

    Parameters
    ----------
    batch : Batch
    folder : Path
        Where they will be.

    Returns
    -------
    dict of str to str
        File name and content.
    """
    texts = {"submit.sh": _submit_text(batch, folder)}
    if batch.participants:
        texts["people.tsv"] = _participants_text(batch.participants)
        texts["participant.sbatch"] = _participant_text(batch, folder)
    if batch.group is not None:
        texts["group.sbatch"] = _group_text(batch)
    return texts


def _new_folder(parent: Path) -> Path:
    """Make the next free numbered folder; two calls at once get two."""
    number = 1
    while True:
        folder = parent / f"{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise InputError(f"cannot write into {parent} ({error.strerror})") from None
        else:
            return folder


def _refuse_line_breaks(batch: Batch) -> None:
    words = [str(batch.out_dir), str(batch.work_dir), *batch.sbatch_args, *(batch.group or ())]
    words += [word for call in batch.calls for word in call.words]
    wrong = sorted({word for word in words if "\n" in word or "\r" in word})
    if wrong:
        raise InputError(f"{wrong[0]!r}: a line break in a path or option; rename it")


def _participants_text(participants: Sequence[ParticipantPlan]) -> str:
    lines = [f"{person.participant}\t{person.data_set}" for person in participants]
    return "\n".join(["participant_id\tdata_set", *lines]) + "\n"


def _head(job: str, request: Request, cpus: int) -> list[str]:
    return [
        "#!/bin/bash",
        f"#SBATCH --job-name={job}",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        f"#SBATCH --cpus-per-task={cpus}",
        f"#SBATCH --mem={request.mib}M",
        f"#SBATCH --time={request.minutes}",
        "set -euo pipefail",
    ]


def _participant_text(batch: Batch, folder: Path) -> str:
    participants = shlex.quote(str(folder / "people.tsv"))
    work = shlex.quote(str(batch.work_dir))
    lines = _head("circuitshift", batch.for_participant, batch.cpus)
    lines += _runner(batch.container)
    lines += [
        "# the task's person: its line of people.tsv, below the header and the arrays before",
        "line=$((${1:-0} + SLURM_ARRAY_TASK_ID + 1))",
        f"IFS=$'\\t' read -r participant data_set < <(sed -n \"${{line}}p\" {participants}) || {{",
        '    echo "people.tsv has no line $line" >&2',
        "    exit 1",
        "}",
        'echo "sub-$participant${data_set:+ of $data_set}, job $SLURM_JOB_ID, $(date)"',
        f'work={work}/${{data_set:+"$data_set-"}}sub-"$participant"',
        'case "$data_set" in',
    ]
    for call in batch.calls:
        lines += [f"{shlex.quote(call.name)})", *_command(call.words, batch.container), "    ;;"]
    lines += [
        "*)",
        '    echo "people.tsv names a data set that is not known: $data_set" >&2',
        "    exit 1",
        "    ;;",
        "esac",
        'exec "${command[@]}" "--participant-label=$participant" "--work-dir=$work"',
    ]
    return "\n".join(lines) + "\n"


def _group_text(batch: Batch) -> str:
    assert batch.group is not None  # noqa: S101 - callers see to it
    work = shlex.quote(f"--work-dir={batch.work_dir / 'group'}")
    lines = _head("circuitshift-group", batch.for_group, 1)
    lines += [*_runner(batch.container), *_command(batch.group, batch.container)]
    lines += [f'exec "${{command[@]}}" {work}']
    return "\n".join(lines) + "\n"


def _command(words: Sequence[str], container: Container | None) -> list[str]:
    """Set the array ``command``, one word a line."""
    start = _python() if container is None else ['"$runner"', *map(shlex.quote, _run(container))]
    every = [*start, *map(shlex.quote, words)]
    return ["    command=(", *(f"        {word}" for word in every), "    )"]


def _python() -> list[str]:
    # -P: the current folder is no place for modules
    return [shlex.quote(sys.executable), "-P", "-m", "circuitshift.workflows.cli.main"]


def _runner(container: Container | None) -> list[str]:
    if container is None:
        return []
    lines = [
        "runner=$(command -v apptainer || command -v singularity) || {",
        '    echo "neither apptainer nor singularity is on the PATH of $(hostname)" >&2',
        "    exit 1",
        "}",
    ]
    if container.templateflow_home is not None:
        home = shlex.quote(str(container.templateflow_home))
        # by the environment: what --env takes is split at commas
        lines += [f"export {name}ENV_TEMPLATEFLOW_HOME={home}" for name in _RUNNERS]
    return lines


_RUNNERS = ("APPTAINER", "SINGULARITY")


def _run(container: Container) -> list[str]:
    """Words of ``apptainer run``: a clean environment, no home, a read-only root."""
    words = ["run", "--cleanenv", "--no-home", "--pwd", "/tmp"]  # noqa: S108 - in the image
    for path, suffix in _mounts(container):
        fields = ["type=bind", f"source={path}", f"destination={path}", *suffix]
        words += ["--mount", ",".join(map(_csv, fields))]
    return [*words, str(container.image)]


def _mounts(container: Container) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield folders to bind, outer ones first, so that none hides another.

    A link is bound under its own name and under the one it leads to.
    """
    wanted: dict[Path, tuple[str, ...]] = {}
    home = container.templateflow_home
    read_only = (*container.read_only, *([home] if home is not None else []))
    for paths, suffix in ((read_only, ("ro",)), (container.writable, ())):
        for path in paths:
            wanted |= {path: suffix, path.resolve(): suffix}
    for path in sorted(wanted, key=lambda path: (len(path.parts), path)):
        above = [wanted[parent] for parent in path.parents if parent in wanted]
        if not above or above[0] != wanted[path]:
            yield path, wanted[path]


def _csv(field: str) -> str:
    """Quote a field of ``--mount``, which is a line of CSV."""
    return '"' + field.replace('"', '""') + '"' if set(field) & set(',"') else field


# ----------------------------------------------------------------------------------- submit


def _submit_text(batch: Batch, folder: Path) -> str:
    """Submit the arrays in turn, and the group level after the last, whoever failed."""
    lines = [
        "#!/bin/bash",
        "# submits what is beside it; jobs.txt keeps the numbers of the jobs",
        "set -euo pipefail",
        f"cd -- {shlex.quote(str(folder))}",
        '[ ! -e jobs.txt ] || { echo "submitted already: see jobs.txt" >&2; exit 1; }',
        "# all or none",
        "trap 'if [ -s jobs.txt ]; then scancel $(cat jobs.txt) && rm jobs.txt; fi' ERR",
    ]
    further = "".join(f"{shlex.quote(word)} " for word in batch.sbatch_args)
    after = ""
    for first in range(0, len(batch.participants), batch.array_size):
        n_tasks = min(batch.array_size, len(batch.participants) - first)
        lines += [
            f"job=$(sbatch --parsable {_log(folder, '%A_%a')} {further}{after}"
            f"--array=1-{n_tasks}%{batch.at_once} participant.sbatch {first})",
            "job=${job%%;*}",
            'echo "$job" >> jobs.txt',
            f'echo "job $job: people {first + 1} to {first + n_tasks}"',
        ]
        after = '--dependency="afterany:$job" '
    if batch.group is not None:
        lines += [
            f"group=$(sbatch --parsable {_log(folder, 'group_%j')} {further}{after}group.sbatch)",
            "group=${group%%;*}",
            'echo "$group" >> jobs.txt',
            'echo "job $group: the group level"',
        ]
    return "\n".join(lines) + "\n"


def _log(folder: Path, name: str) -> str:
    r"""Return the option that says where Slurm writes a job's words.

    An option and no line of the script: those have quoting rules of their own. Slurm expands a
    ``%`` even in the folder, and stops expanding at all where there is a backslash.
    """
    path = str(folder).replace("\\", "\\\\").replace("%", "%%")
    return shlex.quote(f"--output={path}/{name}.log")


def submit(script: Path) -> str:
    """Run ``submit.sh``.

    Parameters
    ----------
    script : Path
        From `write_batch`.

    Returns
    -------
    str
        What it printed: one line a job.

    Raises
    ------
    InputError
        If there is no ``sbatch`` here, or it refuses.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "sbatch is not on this machine; submit from a login node: "
            f"bash {shlex.quote(str(script))}"
        )
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)  # noqa: S603, S607 - our own script
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise InputError(
            f"nothing is submitted, since sbatch refused: {said}; the scripts are in "
            f"{script.parent}"
        )
    return done.stdout.strip()


def waiting(out_dir: Path) -> tuple[str, ...]:
    """Return the jobs of former calls that are in the queue still.

    Parameters
    ----------
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    tuple of str
        Job numbers; empty where there is no Slurm.
    """
    available = sorted(
        {
            line
            for path in (out_dir / _FOLDER).glob("*/jobs.txt")
            for line in path.read_text(encoding="utf-8").split()
            if line.isdecimal()
        },
        key=int,
    )
    if not available or shutil.which("squeue") is None:
        return ()
    # every job of this user: a job that Slurm has forgotten would be an error by its number
    command = ["squeue", "--noheader", "--format=%F", f"--user={os.geteuid()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    if done.returncode:
        raise InputError(f"the queue cannot be read: {' '.join(done.stderr.split())}")
    queued = set(done.stdout.split())
    return tuple(job for job in available if job in queued)
