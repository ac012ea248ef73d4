"""What the tools for published data do: fetch and validate."""

import argparse
import time

from circuitshift.pipeline.opendata.fetch import fetch as fetch_files
from circuitshift.pipeline.opendata.needed import Wanted
from circuitshift.workflows.cli import EXIT_OK
from circuitshift.workflows.commands import say

__all__ = ["fetch"]


def fetch(options: argparse.Namespace) -> int:
    """Fetch what an analysis needs of one data set."""
    start = time.monotonic()
    wanted = Wanted(
        participants=tuple(options.participant_label),
        sessions=tuple(options.session_label),
        tasks=tuple(options.task_id),
        spaces=tuple(options.space),
        include=tuple(options.include),
    )
    found = fetch_files(
        options.dataset,
        options.folder.absolute(),
        wanted,
        tag=options.tag,
        derivatives=options.derivatives,
        say=say,
        dry_run=options.dry_run,
    )
    commits = {"raw": found.commit or "not told", **found.derivatives}
    told = ", ".join(f"{name} {commit}" for name, commit in commits.items())
    say(f"version {found.tag}; commits: {told}")
    if not options.dry_run:
        say(f"{found.n_files} files are whole ({time.monotonic() - start:.0f} s): {found.folder}")
    return EXIT_OK
