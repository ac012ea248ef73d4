"""Convert input that is not in BIDS before anything else reads it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from circuitshift.pipeline.bids.convert.description import read_inputs
from circuitshift.workflows.cli.preflight import check_writable
from circuitshift.workflows.cli.request import Request
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.plan import InputFolder

__all__ = ["FOLDER", "converted_input"]

#: Folder of the derivative in the output folder.
FOLDER = "converted"


@contextmanager
def converted_input(request: Request) -> Iterator[Request]:
    """Convert the files that ``[input]`` of the study file describes.

    Parameters
    ----------
    request : Request
        After `check_folders`.

    Yields
    ------
    Request
        The same request if the study file has no table ``[input]``; otherwise its main data set is
        the derivative ``OUTPUT_DIR/converted``. With ``--dry-run`` the derivative is temporary, and
        nothing is written into the output folder.
    """
    inputs = read_inputs(request.study_file) if request.study_file else ()
    if not inputs or request.freeze_plan:
        yield request
        return
    from circuitshift.pipeline.bids.convert.derivative import convert_inputs  # noqa: PLC0415 - numpy

    with tempfile.TemporaryDirectory() as temporary:
        if request.dry_run:
            folder = Path(temporary) / FOLDER
        else:
            check_writable("OUTPUT_DIR", request.output_dir)
            folder = request.output_dir / FOLDER
        made = convert_inputs(request.bids_dir, inputs, folder)
        for note in made.notes:
            notify(f"note: {note}")
        if not request.dry_run:
            notify(f"{'converted' if made.is_new else 'unchanged'}: {folder}")
        main, *others = request.folders
        yield replace(request, folders=(InputFolder(folder, folder, main.name), *others))
