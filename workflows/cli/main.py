"""Entry point of the command line, which consists of a BIDS App and several tools.

Only light modules are imported at the top, so that ``--help`` is fast and thread limits can be set
before NumPy starts its threads.
"""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK
from circuitshift.workflows.cli.parsers import app_parser
from circuitshift.workflows.cli.tool_parsers import tool_parsers

__all__ = ["main"]

_MIN_MEMORY = 2**30  # address space, bytes; loading the libraries alone takes about 700 MB

_TOOLS = ("init", "demo", "simulate", "calibrate", "power", "slurm", "fetch", "validate", "pool")


def _run(
    tool: str, parser: argparse.ArgumentParser, options: argparse.Namespace, command: str
) -> int:
    """Create the request and pass it to its command; heavy modules are imported here."""
    from circuitshift.workflows.cli import request as requests  # noqa: PLC0415
    from circuitshift.workflows.cli import tool_requests  # noqa: PLC0415

    request = requests.make_request(tool, parser, options, command=command)
    if isinstance(request, requests.Request):
        from circuitshift.workflows.cli.bids_app import app  # noqa: PLC0415

        return app(request)
    if isinstance(request, requests.SlurmRequest):
        from circuitshift.workflows.cli.slurm import slurm  # noqa: PLC0415

        return slurm(request)
    if isinstance(request, tool_requests.FetchRequest | tool_requests.ValidateRequest):
        from circuitshift.workflows.cli.open_data import run_open_data  # noqa: PLC0415

        return run_open_data(request)
    from circuitshift.workflows.cli.tools import run_tool  # noqa: PLC0415

    return run_tool(request)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments of the command. By default, those of the current process are used.

    Raises
    ------
    SystemExit
        Always. Its code is `EXIT_OK`, `EXIT_FAILED` or `EXIT_PARTIAL`, 2 for wrong usage, or 130
        after an interruption.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    tools = tool_parsers() if words and words[0] in _TOOLS else {}
    parser, rest = (tools[words[0]], words[1:]) if tools else (app_parser(), words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the terminal may not support all file names
            stream.reconfigure(errors="backslashreplace")
    options = parser.parse_args(rest)
    _limit_threads(getattr(options, "omp_nthreads", None))
    try:
        _check_memory_limit()
        command = shlex.join(["circuitshift", *words])
        code = _run(words[0] if tools else "", parser, options, command)
    except BrokenPipeError:  # `circuitshift ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except KeyboardInterrupt:
        print(  # noqa: T201 - output of the command line
            "circuitshift: interrupted; run the same command again to continue", file=sys.stderr
        )
        code = 130
    except Exception as error:
        _print_reason(error, getattr(options, "output_dir", None))
        code = EXIT_FAILED
    sys.exit(code)


def _check_memory_limit() -> None:
    """Refuse a memory limit that is too low for OpenBLAS, which would wait for memory forever."""
    import resource  # noqa: PLC0415 - one use

    from circuitshift.atlases.errors import CircuitshiftError  # noqa: PLC0415 - when it is needed

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _MIN_MEMORY:
        raise CircuitshiftError(
            f"memory is limited to {limit / 2**20:.0f} MB (ulimit -v); allow at least "
            f"{_MIN_MEMORY // 2**20} MB"
        )


def _print_reason(error: Exception, out_dir: Path | None) -> None:
    """Print one sentence; the traceback of an unexpected error is written to a file."""
    from circuitshift.atlases.errors import CircuitshiftError  # noqa: PLC0415 - when it is needed
    from circuitshift.workflows.engine.crashes import record_unexpected_error  # noqa: PLC0415
    from circuitshift.workflows.engine.log import plain  # noqa: PLC0415

    if isinstance(error, CircuitshiftError):
        text = str(error)
    else:
        text = record_unexpected_error(error, out_dir)
    print(f"circuitshift: {plain(text)}", file=sys.stderr)  # noqa: T201 - command-line output


def _limit_threads(n: int | None) -> None:
    """Set the number of threads of NumPy's libraries before they are loaded."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if n is not None:
            os.environ[name] = str(n)
        else:
            os.environ.setdefault(name, "1")


if __name__ == "__main__":
    main()
