"""Summarise unexpected errors in one sentence and save their tracebacks to a file."""

import itertools
import re
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Crash", "explain", "record_unexpected_error", "write_crash"]

# Nipype's crash files indent the traceback of the step itself.
_ERROR_LINE = re.compile(
    r"^\t?((?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt|Warning))(?::\s*(.*))?$"
)


@dataclass(frozen=True, slots=True)
class Crash:
    """Describe a node that ended with an error.

    Parameters
    ----------
    node : str
        Full name of the node, for example ``participant_wf.sub_01_wf.measure``.
    file : str
        Crash file with the complete traceback; empty if none was written.
    """

    node: str
    file: str


def write_crash(path: Path, text: str) -> str:
    """Write a crash file, or a temporary file if its folder cannot be written.

    Parameters
    ----------
    path : Path
        Crash file.
    text : str
        Name of the node and traceback.

    Returns
    -------
    str
        The file that was written; empty if none could be written.
    """
    with suppress(OSError):
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return str(path)
    with suppress(OSError), _temporary_file() as file:
        file.write(text)
        return file.name
    return ""


def _temporary_file() -> "tempfile._TemporaryFileWrapper[str]":
    """Create a temporary text file that is not deleted."""
    return tempfile.NamedTemporaryFile(
        "w", prefix="circuitshift-", suffix=".txt", delete=False, errors="backslashreplace"
    )


def explain(file: str) -> tuple[str, bool]:
    """Summarise a crash file in one sentence.

    Parameters
    ----------
    file : str
        Crash file that Nipype wrote. The file may be missing, and the name may be empty.

    Returns
    -------
    sentence : str
        The complete message of an error that circuitshift raised on purpose; otherwise the type
        and message of the last error in the file.
    expected : bool
        Whether circuitshift raised the error on purpose.
    """
    try:
        lines = (
            Path(file).read_text(encoding="utf-8", errors="replace").splitlines() if file else []
        )
    except OSError:
        lines = []
    errors = [(k, match) for k, line in enumerate(lines) if (match := _ERROR_LINE.match(line))]
    expected = [(k, match) for k, match in errors if match[1].startswith("circuitshift.")]
    if expected:
        k, match = expected[-1]
        following = [line.removeprefix("\t") for line in lines[k + 1 :]]
        # The message may have several lines, such as lines for a study file, but no empty line.
        more = [line.rstrip() for line in itertools.takewhile(str.strip, following)]
        return "\n".join([match[2] or "", *more]), True
    if not errors:
        return "no error message was recorded", False
    name, message = errors[-1][1].groups()
    if name == "MemoryError":
        return "out of memory; use fewer --nprocs, or a machine with more memory", False
    return f"{name.rpartition('.')[2]}: {message}" if message else name, False


def record_unexpected_error(error: BaseException, out_dir: Path | None) -> str:
    """Save the traceback of an unexpected error and return a sentence about it.

    Parameters
    ----------
    error : BaseException
        Error that no other code handled.
    out_dir : Path or None
        Output folder; the traceback is written to its ``logs`` folder. If that is not possible,
        the traceback is written to a temporary file, and otherwise to standard error.

    Returns
    -------
    str
        Type and message of the error, and the file that contains the traceback.
    """
    if isinstance(error, MemoryError) or "failed to map segment" in str(error):
        return "out of memory; use fewer --nprocs, or allow more memory (ulimit -v)"
    message = str(error).strip().split("\n")[0]
    summary = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        summary = error.strerror + (f": {error.filename}" if error.filename else "")
    text = "".join(traceback.format_exception(error))
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-circuitshift.txt"
    if out_dir is not None and out_dir.is_dir():
        path = out_dir / "logs" / name
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
            return f"unexpected error ({summary}); the full traceback is in {path}"
    try:
        with _temporary_file() as file:
            file.write(text)
    except OSError:
        print(text, file=sys.stderr)  # noqa: T201 - no file can be written
        return f"unexpected error ({summary})"
    return f"unexpected error ({summary}); the full traceback is in {file.name}"
