"""The command line: a BIDS App and a few tools. Thin: it parses, calls and prints.

Nothing heavy is imported at the top, so that ``--help`` answers at once and thread limits can be
set before numpy starts its threads.
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

_LEAST_MEMORY = 2**30  # address space; loading the libraries alone takes some 700 MB

_TOOLS = ("demo", "simulate", "calibrate", "power", "slurm", "fetch", "validate")


def _run(
    tool: str, parser: argparse.ArgumentParser, options: argparse.Namespace, command: str
) -> int:
    """Make the request and hand it to its command; what is heavy is imported here."""
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
        Arguments; the process's own by default.

    Raises
    ------
    SystemExit
        Always; its code is one of `EXIT_OK`, `EXIT_FAILED`, `EXIT_PARTIAL`, or argparse's 2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    tools = tool_parsers() if words and words[0] in _TOOLS else {}
    parser, rest = (tools[words[0]], words[1:]) if tools else (app_parser(), words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not fit the terminal
            stream.reconfigure(errors="backslashreplace")
    options = parser.parse_args(rest)
    _limit_threads(getattr(options, "omp_nthreads", None))
    try:
        _refuse_little_memory()
        command = shlex.join(["circuitshift", *words])
        code = _run(words[0] if tools else "", parser, options, command)
    except BrokenPipeError:  # `circuitshift ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except KeyboardInterrupt:
        print("circuitshift: interrupted; run it again to go on", file=sys.stderr)  # noqa: T201
        code = 130
    except Exception as error:
        _print_reason(error, getattr(options, "output_dir", None))
        code = EXIT_FAILED
    sys.exit(code)


def _refuse_little_memory() -> None:
    """Refuse a limit under which libraries do not load: OpenBLAS would wait for memory for ever."""
    import resource  # noqa: PLC0415 - one use

    from circuitshift.atlases.errors import CircuitshiftError  # noqa: PLC0415 - when it is needed

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _LEAST_MEMORY:
        raise CircuitshiftError(
            f"memory is limited to {limit / 2**20:.0f} MB (ulimit -v); allow at least "
            f"{_LEAST_MEMORY // 2**20} MB"
        )


def _print_reason(error: Exception, out_dir: Path | None) -> None:
    """Print one sentence; what nobody foresaw goes to a file as a whole."""
    from circuitshift.atlases.errors import CircuitshiftError  # noqa: PLC0415 - when it is needed
    from circuitshift.workflows.engine.crashes import last_words  # noqa: PLC0415
    from circuitshift.workflows.engine.log import plain  # noqa: PLC0415

    text = str(error) if isinstance(error, CircuitshiftError) else last_words(error, out_dir)
    print(f"circuitshift: {plain(text)}", file=sys.stderr)  # noqa: T201 - the command line speaks


def _limit_threads(n: int | None) -> None:
    """Give numpy's libraries their number of threads before they start."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if n is not None:
            os.environ[name] = str(n)
        else:
            os.environ.setdefault(name, "1")


if __name__ == "__main__":
    main()
