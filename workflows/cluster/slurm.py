"""Slurm scripts of a study: an array job with one participant per task, then the group level.

The shell never executes text that comes from a file name: each path is one quoted word, and each
task reads its participant from a line of a table. Each call writes the scripts into a new folder,
so that a task that waits in the queue never reads a list that has changed since.
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
    """Describe an Apptainer image and the folders that it can access.

    Parameters
    ----------
    image : Path
        Image file.
    read_only, writable : tuple of Path
        Folders that are bound under their own paths, read-only and writable. The root file system
        of the image is read-only.
    templateflow_home : Path, optional
        TemplateFlow folder of the host. By default, the folder in the image is used.
    """

    image: Path
    read_only: tuple[Path, ...]
    writable: tuple[Path, ...]
    templateflow_home: Path | None = None


@dataclass(frozen=True, slots=True)
class DataSetCall:
    """Describe the participant-level command of one data set, without the participant label.

    Parameters
    ----------
    name : str
        Name of the data set; empty for the main data set.
    words : tuple of str
        Arguments of the command ``circuitshift``.
    """

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Describe the contents of the scripts.

    Parameters
    ----------
    out_dir : Path
        Root of the output data set.
    work_dir : Path
        Scratch folder; each task uses its own subfolder.
    participants : tuple of ParticipantPlan
        Participants, one task each; may be empty.
    calls : tuple of DataSetCall
        Participant-level command of each data set.
    group : tuple of str or None
        Arguments of the command ``circuitshift`` at the group level; None to omit the group level.
    for_participant, for_group : Request
        Resources of each task and of the group level.
    cpus : int, default: 1
        Number of processors of each task.
    array_limit : int, default: 20
        Maximum number of tasks that run at the same time.
    array_size : int, default: 1000
        Maximum number of tasks in one array. Additional arrays run one after the other.
    sbatch_args : tuple of str, default: ()
        Additional arguments for ``sbatch``.
    container : Container, optional
        Apptainer image. By default, the current Python environment is used.
    """

    out_dir: Path
    work_dir: Path
    participants: tuple[ParticipantPlan, ...]
    calls: tuple[DataSetCall, ...]
    group: tuple[str, ...] | None
    for_participant: Request
    for_group: Request
    cpus: int = 1
    array_limit: int = 20
    array_size: int = 1000
    sbatch_args: tuple[str, ...] = ()
    container: Container | None = None


# ---------------------------------------------------------------------------------- scripts


def write_batch(batch: Batch) -> Path:
    """Write the scripts into a new folder in ``logs/slurm`` of the output data set.

    Parameters
    ----------
    batch : Batch
        Contents of the scripts.

    Returns
    -------
    Path
        The script ``submit.sh``. Its folder also contains ``participant.sbatch``,
        ``group.sbatch`` and ``participants.tsv``.

    Raises
    ------
    InputError
        If a path or an option contains a line break, or if the folder cannot be created.
    """
    _refuse_line_breaks(batch)
    folder = _new_folder(batch.out_dir / _FOLDER)
    for name, text in scripts(batch, folder).items():
        tables.write_text(folder / name, text)
    return folder / "submit.sh"


def scripts(batch: Batch, folder: Path) -> dict[str, str]:
    """Return the contents of all files without writing them.

    Parameters
    ----------
    batch : Batch
        Contents of the scripts.
    folder : Path
        Folder in which the files will be written.

    Returns
    -------
    dict of str to str
        Content of each file, by file name.
    """
    texts = {"submit.sh": _submit_text(batch, folder)}
    if batch.participants:
        texts["participants.tsv"] = _participants_text(batch.participants)
        texts["participant.sbatch"] = _participant_text(batch, folder)
    if batch.group is not None:
        texts["group.sbatch"] = _group_text(batch)
    return texts


def _new_folder(parent: Path) -> Path:
    """Create the next numbered folder; simultaneous calls create different folders."""
    number = 1
    while True:
        folder = parent / f"{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise InputError(
                f"cannot write into {parent} ({error.strerror}); choose another output folder"
            ) from None
        else:
            return folder


def _refuse_line_breaks(batch: Batch) -> None:
    words = [str(batch.out_dir), str(batch.work_dir), *batch.sbatch_args, *(batch.group or ())]
    words += [word for call in batch.calls for word in call.words]
    with_line_break = sorted({word for word in words if "\n" in word or "\r" in word})
    if with_line_break:
        raise InputError(
            f"{with_line_break[0]!r}: this path or option contains a line break; rename it"
        )


def _participants_text(participants: Sequence[ParticipantPlan]) -> str:
    lines = [f"{plan.participant}\t{plan.data_set}" for plan in participants]
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
    participants = shlex.quote(str(folder / "participants.tsv"))
    work = shlex.quote(str(batch.work_dir))
    lines = _head("circuitshift", batch.for_participant, batch.cpus)
    lines += _runner(batch.container)
    lines += [
        "# participant of this task: a line of participants.tsv after header and earlier arrays",
        "line=$((${1:-0} + SLURM_ARRAY_TASK_ID + 1))",
        f"IFS=$'\\t' read -r participant data_set < <(sed -n \"${{line}}p\" {participants}) || {{",
        '    echo "participants.tsv has no line $line" >&2',
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
        '    echo "participants.tsv contains an unknown data set: $data_set" >&2',
        "    exit 1",
        "    ;;",
        "esac",
        'exec "${command[@]}" "--participant-label=$participant" "--work-dir=$work"',
    ]
    return "\n".join(lines) + "\n"


def _group_text(batch: Batch) -> str:
    assert batch.group is not None  # noqa: S101 - the caller checks it
    work = shlex.quote(f"--work-dir={batch.work_dir / 'group'}")
    lines = _head("circuitshift-group", batch.for_group, 1)
    lines += [*_runner(batch.container), *_command(batch.group, batch.container)]
    lines += [f'exec "${{command[@]}}" {work}']
    return "\n".join(lines) + "\n"


def _command(words: Sequence[str], container: Container | None) -> list[str]:
    """Return the lines that set the array variable ``command``, with one word per line."""
    start = _python() if container is None else ['"$runner"', *map(shlex.quote, _run(container))]
    all_words = [*start, *map(shlex.quote, words)]
    return ["    command=(", *(f"        {word}" for word in all_words), "    )"]


def _python() -> list[str]:
    # -P: modules are not imported from the current folder
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
        # as environment variables, because the option --env splits values at commas
        lines += [f"export {name}ENV_TEMPLATEFLOW_HOME={home}" for name in _RUNNERS]
    return lines


_RUNNERS = ("APPTAINER", "SINGULARITY")


def _run(container: Container) -> list[str]:
    """Return the arguments of ``apptainer run``, with a clean environment and no home folder."""
    words = ["run", "--cleanenv", "--no-home", "--pwd", "/tmp"]  # noqa: S108 - in the image
    for path, suffix in _mounts(container):
        fields = ["type=bind", f"source={path}", f"destination={path}", *suffix]
        words += ["--mount", ",".join(map(_csv, fields))]
    return [*words, str(container.image)]


def _mounts(container: Container) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the folders to bind, parent folders first, so that no folder hides another.

    A symbolic link is bound under its own path and under the path of its target.
    """
    wanted: dict[Path, tuple[str, ...]] = {}
    home = container.templateflow_home
    read_only = (*container.read_only, *([home] if home is not None else []))
    for paths, suffix in ((read_only, ("ro",)), (container.writable, ())):
        for path in paths:
            wanted |= {path: suffix, path.resolve(): suffix}
    for path in sorted(wanted, key=lambda path: (len(path.parts), path)):
        parents = [wanted[parent] for parent in path.parents if parent in wanted]
        if not parents or parents[0] != wanted[path]:
            yield path, wanted[path]


def _csv(field: str) -> str:
    """Quote a field of the option ``--mount``, whose value is a line of CSV."""
    return '"' + field.replace('"', '""') + '"' if set(field) & set(',"') else field


# ----------------------------------------------------------------------------------- submit


def _submit_text(batch: Batch, folder: Path) -> str:
    """Return a script that submits the arrays, and the group level after the last array.

    The group level also runs if tasks of participants have failed.
    """
    lines = [
        "#!/bin/bash",
        "# submits the jobs in this folder and writes their numbers to jobs.txt",
        "set -euo pipefail",
        f"cd -- {shlex.quote(str(folder))}",
        '[ ! -e jobs.txt ] || { echo "submitted already: see jobs.txt" >&2; exit 1; }',
        "# if a job cannot be submitted, cancel the previous ones",
        "trap 'if [ -s jobs.txt ]; then scancel $(cat jobs.txt) && rm jobs.txt; fi' ERR",
    ]
    further = "".join(f"{shlex.quote(word)} " for word in batch.sbatch_args)
    after = ""
    for first in range(0, len(batch.participants), batch.array_size):
        n_tasks = min(batch.array_size, len(batch.participants) - first)
        lines += [
            f"job=$(sbatch --parsable {_log(folder, '%A_%a')} {further}{after}"
            f"--array=1-{n_tasks}%{batch.array_limit} participant.sbatch {first})",
            "job=${job%%;*}",
            'echo "$job" >> jobs.txt',
            f'echo "job $job: participants {first + 1} to {first + n_tasks}"',
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
    r"""Return the option of ``sbatch`` that sets the log file of a job.

    The log file is not set in the script itself, because ``#SBATCH`` lines have other quoting
    rules. Slurm expands ``%`` in folder names as well, and expands nothing in a path that contains
    a backslash, unless it is doubled.
    """
    path = str(folder).replace("\\", "\\\\").replace("%", "%%")
    return shlex.quote(f"--output={path}/{name}.log")


def submit(script: Path) -> str:
    """Run ``submit.sh``.

    Parameters
    ----------
    script : Path
        Script that `write_batch` returned.

    Returns
    -------
    str
        Output of the script: one line per job.

    Raises
    ------
    InputError
        If ``sbatch`` is not available or rejects a job.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "sbatch is not available on this machine; submit the jobs from a login node: "
            f"bash {shlex.quote(str(script))}"
        )
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)  # noqa: S603, S607 - our own script
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise InputError(
            f"no job was submitted, because sbatch rejected it: {reason}; correct --sbatch-args or "
            f"the scripts in {script.parent}"
        )
    return done.stdout.strip()


def waiting(out_dir: Path) -> tuple[str, ...]:
    """Return the jobs of earlier calls that are still in the queue.

    Parameters
    ----------
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    tuple of str
        Job numbers; empty if Slurm is not available.

    Raises
    ------
    InputError
        If Slurm does not report its queue.
    """
    submitted = sorted(
        {
            line
            for path in (out_dir / _FOLDER).glob("*/jobs.txt")
            for line in path.read_text(encoding="utf-8").split()
            if line.isdecimal()
        },
        key=int,
    )
    if not submitted or shutil.which("squeue") is None:
        return ()
    # all jobs of this user, because squeue fails for numbers of jobs that ended long ago
    command = ["squeue", "--noheader", "--format=%F", f"--user={os.geteuid()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    if done.returncode:
        raise InputError(
            f"squeue cannot read the queue: {' '.join(done.stderr.split())}; try again later"
        )
    queued = set(done.stdout.split())
    return tuple(job for job in submitted if job in queued)
