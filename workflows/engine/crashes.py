"""What nobody foresaw, told in a sentence; the whole of it goes to a file."""

import re
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

__all__ = ["explain", "last_words"]

# Nipype's crash files indent the traceback of the step itself.
_LAST = re.compile(r"^\t?((?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt|Warning))(?::\s*(.*))?$")


def explain(file: str) -> tuple[str, bool]:
    """Return what a crash file comes to.

    Parameters
    ----------
    file : str
        As Nipype writes it; may be empty or gone.

    Returns
    -------
    sentence : str
        Of an error that circuitshift raised on purpose the whole text, else type and message.
    expected : bool
        Whether it is such an error.
    """
    try:
        lines = (
            Path(file).read_text(encoding="utf-8", errors="replace").splitlines() if file else []
        )
    except OSError:
        lines = []
    found = [(k, match) for k, line in enumerate(lines) if (match := _LAST.match(line))]
    expected = [(k, m) for k, m in found if m[1].startswith("circuitshift.")]
    if expected:
        k, match = expected[-1]
        more = [line.removeprefix("\t") for line in lines[k + 1 :]]
        return "\n".join([match[2] or "", *(x for x in more if x.startswith("  - "))]), True
    if not found:
        return "it left no trace", False
    name, message = found[-1][1].groups()
    if name == "MemoryError":
        return "memory was out; use fewer --nprocs, or a machine with more memory", False
    return f"{name.rpartition('.')[2]}: {message}" if message else name, False


def last_words(error: BaseException, out_dir: Path | None) -> str:
    """Keep an error that nobody foresaw, and say it in a sentence.

    Parameters
    ----------
    error : BaseException
    out_dir : Path or None
        The traceback goes to its ``logs``; to a temporary file when that cannot be written.

    Returns
    -------
    str
    """
    if isinstance(error, MemoryError) or "failed to map segment" in str(error):
        return "memory was out; use fewer --nprocs, or allow more memory (ulimit -v)"
    said = str(error).strip().split("\n")[0]
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        what = error.strerror + (f": {error.filename}" if error.filename else "")
    text = "".join(traceback.format_exception(error))
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-circuitshift.txt"
    if out_dir is not None and out_dir.is_dir():
        path = out_dir / "logs" / name
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
            return f"unforeseen error ({what}); the whole of it is in {path}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="circuitshift-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError:
        print(text, file=sys.stderr)  # noqa: T201 - nowhere else to keep it
        return f"unforeseen error ({what})"
    return f"unforeseen error ({what}); the whole of it is in {file.name}"
