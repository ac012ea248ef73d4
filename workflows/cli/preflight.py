"""Checks of folders and input, and preparation of atlases, before participants are measured."""

import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from circuitshift.atlases.records import Atlas
from circuitshift.atlases.resolve import (
    CircuitSet,
    check_circuit_files,
    circuit_names,
    describe_located,
    load_circuits,
    none_located,
)
from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.convert.description import read_inputs
from circuitshift.pipeline.bids.input_types import is_image
from circuitshift.pipeline.errors import AtlasError, CircuitError, InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.atlas_files import (
    atlas_for,
    find_atlases,
    prepare_atlases,
    read_atlas,
)
from circuitshift.pipeline.records import AnalysisSettings, Run
from circuitshift.pipeline.study.members import SELECTION_FILE, DataSet
from circuitshift.pipeline.study.resolution.describe import Located
from circuitshift.pipeline.study.resolution.resolve import require
from circuitshift.pipeline.study.study_file import StudyFile, read_study_file
from circuitshift.pipeline.validation.opendata.fetch import published_sources
from circuitshift.workflows.cli.exit_status import EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.cli.request import Request
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.plan import ParticipantPlan, StudyPlan

__all__ = [
    "check_definitions",
    "check_design",
    "check_folders",
    "check_structure",
    "check_writable",
    "converted_input",
    "describe_atlases",
    "prepare_outputs",
    "record_selection",
    "validate_input",
]


def check_folders(request: Request) -> None:
    """Refuse input folders that do not exist, and an output folder that is the input folder.

    Parameters
    ----------
    request : Request
        Request of the BIDS App.

    Raises
    ------
    InputError
        If a folder cannot be used, or if the name of a data set contains other characters than
        letters and digits.
    """
    if request.ratings is not None and not request.ratings.is_dir():
        raise InputError(f"--ratings {request.ratings}: there is no such folder; check the path")
    for folder in request.folders:
        if folder.table is not None and not folder.table.is_file():
            raise InputError(f"--participants {folder.table}: there is no such file")
        for path in {folder.participants, folder.files}:
            if not path.is_dir():
                raise InputError(f"{path}: there is no such folder; check the path")
        if folder.name and not folder.name.isalnum():
            raise InputError(
                f"data set name {folder.name!r}: use only letters and digits in "
                "--reference-dataset NAME=PATH"
            )
    if request.output_dir.resolve() == request.bids_dir.resolve():
        raise InputError(
            "OUTPUT_DIR must not be BIDS_DIR, because nothing is written into the input; choose "
            "another output folder"
        )


def check_design(plan: StudyPlan, stated: StudyFile, request: Request) -> None:
    """Refuse a study that cannot be resolved, before anything is computed.

    The participant level needs no design, so without a study file open questions are only printed.

    Parameters
    ----------
    plan : StudyPlan
        Plan of the complete study.
    stated : StudyFile
        Contents of the study file.
    request : Request
        Request of the BIDS App.

    Raises
    ------
    InputProblemsError
        If the design is needed and cannot be resolved; contains all open questions.
    """
    if request.query.participants or request.query.sessions:
        return  # a part of the study need not have all sessions and groups
    resolution, _ = plan.resolve(stated)
    if request.study_file is not None or request.analysis_level == "group":
        require(resolution)
    elif resolution.refusals:
        n = len(resolution.refusals)
        notify(
            f"note: the group level will need a study file, because {n} "
            f"question{' is' if n == 1 else 's are'} open; `circuitshift init {request.bids_dir}` "
            "writes it"
        )


def record_selection(plan: StudyPlan, request: Request) -> None:
    """Record how runs were selected, for the group level.

    Parameters
    ----------
    plan : StudyPlan
        Plan of the complete study.
    request : Request
        Request of the BIDS App; nothing is recorded if it selects participants or sessions.
    """
    if request.query.participants or request.query.sessions:
        return
    for data_set in plan.data_sets:
        notes = [note for name, note in plan.selection if name == data_set.name]
        path, content = data_set.outputs / SELECTION_FILE, {"notes": notes}
        if not path.exists() or tables.read_json(path) != content:
            tables.write_json(path, content)


def check_writable(name: str, folder: Path) -> None:
    """Create a folder if necessary, and refuse it if files cannot be written into it.

    Parameters
    ----------
    name : str
        Argument that names the folder, for the error message.
    folder : Path
        Folder to check.

    Raises
    ------
    InputError
        If the folder cannot be created or written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{name}: cannot write into {folder} ({reason}); choose another folder"
        ) from None


def validate_input(bids_dir: Path) -> None:
    """Run the BIDS validator on a raw data set, if it is installed, and print its errors.

    Parameters
    ----------
    bids_dir : Path
        Input data set. Derivatives, folders without a description, and data sets that contain no
        folder of a participant (only their derivatives are at hand) are not validated.
    """
    program = shutil.which("bids-validator-deno")
    description = bids_dir / "dataset_description.json"
    if program is None or not description.exists() or not any(bids_dir.glob("sub-*/")):
        return
    if tables.read_json(description).get("DatasetType", "raw") != "raw":
        return
    command = [program, "--json", "--ignoreNiftiHeaders", str(bids_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (json.JSONDecodeError, KeyError, TypeError):
        notify("warning: the output of bids-validator-deno cannot be read and is ignored")
        return
    errors = sorted({i["code"] for i in issues if i.get("severity") == "error"})
    if errors:
        notify(
            f"warning: {bids_dir} is not valid BIDS ({', '.join(errors[:6])}); the analysis "
            "continues, because each input file is checked when it is read "
            "(--skip-bids-validation skips the validation)"
        )


def check_definitions(request: Request) -> StudyFile:
    """Read the study file and the files of circuits, so that their errors stop before measuring.

    Parameters
    ----------
    request : Request
        Request of the BIDS App.

    Returns
    -------
    StudyFile
        What the study file states; nothing without a study file.

    Raises
    ------
    InputError
        If the study file cannot be read or is invalid.
    CircuitError
        If a file of circuits cannot be read or is invalid, or if the study file names a circuit
        that is not defined.
    """
    stated = read_study_file(request.study_file) if request.study_file else StudyFile()
    files = tuple(map(Path, request.settings.circuits))
    check_circuit_files(files, _stated_circuits(stated))
    return stated


def _stated_circuits(stated: StudyFile) -> tuple[str, ...]:
    """Return the circuits that are named in a study file."""
    values = dict(stated.stated)
    directions = values.get("directions") or {}
    named = (*(values.get("circuits") or ()), *(values.get("primary") or ()), *dict(directions))
    return tuple(dict.fromkeys(named))


def _locate_circuits(atlas: Atlas, settings: AnalysisSettings, stated: StudyFile) -> CircuitSet:
    """Locate all circuits; refuse those of the study file without regions, note those of files.

    Without a study file, an atlas without any circuit is only warned of, because the participant
    level needs no circuits.
    """
    files = tuple(map(Path, settings.circuits))
    names = _stated_circuits(stated)
    if names:
        load_circuits(atlas, names, files=files)
    found = load_circuits(atlas, files=files)
    if not found.circuits:
        if stated.stated:
            raise CircuitError(none_located(atlas, found))
        notify(f"warning: {none_located(atlas, found)}. The group level needs a circuit.")
        return found
    own = set(circuit_names(files)) - set(circuit_names())
    for reason in found.skipped:
        if any(reason.startswith(f"circuit {name}:") for name in own):
            notify(f"warning: {reason} It will not be analysed.")
    return found


def describe_atlases(
    plan: StudyPlan, settings: AnalysisSettings, stated: StudyFile
) -> tuple[list[str], Located | None]:
    """Describe the strategies, atlases and circuits of a planned analysis.

    Parameters
    ----------
    plan : StudyPlan
        Plan of all data sets.
    settings : AnalysisSettings
        Strategies and atlases for images, and files of circuits.
    stated : StudyFile
        The study file, whose circuits must have regions on the first atlas.

    Returns
    -------
    lines : list of str
        Lines for ``--dry-run``. An atlas that cannot be loaded is stated, not raised, since it
        may be installed on the machine that runs the analysis.
    located : Located or None
        Circuits that the first atlas has; None if no atlas was loaded.

    Raises
    ------
    CircuitError
        If a circuit of the study file has no regions on the atlas, or no circuit has.
    """
    participants = [p for p in plan.participants if not p.data_set]
    runs = [*(r for p in participants for r in p.runs), *_future_runs(participants, settings)]
    if not runs:
        return [], None
    denoised = any(is_image(run) for run in runs)
    strategies = ", ".join(settings.strategies) if denoised else "as given (no denoising)"
    try:
        atlases = find_atlases(runs, settings)
    except AtlasError as error:
        return [f"strategies: {strategies}", f"atlas: it cannot be loaded: {error}"], None
    lines = [f"strategies: {strategies}; atlases: {', '.join(atlases) or 'none'}"]
    if not atlases:
        return lines, None
    primary = next(iter(atlases.values()))
    found = _locate_circuits(primary, settings, stated)
    names, packaged = tuple(c.name for c in found.circuits), circuit_names()
    own = tuple(name for name in names if name not in packaged) if settings.circuits else ()
    return [*lines, describe_located(primary, found)], Located(names, own)


def prepare_outputs(
    plan: StudyPlan,
    settings: AnalysisSettings,
    *,
    preproc_only: bool,
    stated: StudyFile = StudyFile(),  # noqa: B008 - frozen
) -> None:
    """Write the files that all participants of a data set share, and check the circuits.

    Parameters
    ----------
    plan : StudyPlan
        Plan of all data sets.
    settings : AnalysisSettings
        Atlases and template.
    preproc_only : bool
        Whether only preprocessing is requested, which needs no atlas.
    stated : StudyFile, optional
        The study file, whose circuits must have regions on the first atlas.

    Raises
    ------
    InputError
        If raw images are to be preprocessed and ANTs is not installed, or if the structure of
        sessions cannot be measured.
    CircuitError
        If a circuit of the study file has no regions on the atlas, or no circuit has.
    """
    check_structure(plan, settings)
    for data_set in plan.data_sets:
        participants = [p for p in plan.participants if p.data_set == data_set.name]
        runs = [*(r for p in participants for r in p.runs), *_future_runs(participants, settings)]
        if not preproc_only:
            names = prepare_atlases(runs, settings, data_set.outputs)
            if names and not data_set.name:
                _locate_circuits(read_atlas(data_set.outputs, names[0]), settings, stated)
        if any(participant.raw for participant in participants):
            _prepare_raw(settings, data_set)
        bids.write_dataset_description(
            data_set.outputs,
            name="circuitshift",
            sources=(str(data_set.participants), *published_sources(data_set.participants)),
        )


def check_structure(plan: StudyPlan, settings: AnalysisSettings) -> None:
    """Raise an error if the structure of sessions is requested but cannot be measured.

    Parameters
    ----------
    plan : StudyPlan
        Plan of all data sets.
    settings : AnalysisSettings
        Structure and atlases.

    Raises
    ------
    InputError
        If no raw images are preprocessed, or if an atlas has no volumes.
    """
    if not settings.structure:
        return
    if not any(participant.raw for participant in plan.participants):
        raise InputError(
            "--structure measures raw T1-weighted images, but the images of this data set are "
            "preprocessed already; omit --structure, or add --input-type raw"
        )
    from circuitshift.pipeline.preproc.structure.volumes import check_atlas  # noqa: PLC0415 - scipy

    for source in settings.atlases:
        check_atlas(atlas_for(source, settings.template))


def _future_runs(participants: Sequence[ParticipantPlan], settings: AnalysisSettings) -> list[Run]:
    """Return records of the runs that preprocessing will write, which define their space."""
    return [
        Run(p.participant, b.session, "", "", settings.template, "", "bold", b.path, b.entities)
        for p in participants
        for b in p.bolds[:1]
    ]


def _prepare_raw(settings: AnalysisSettings, data_set: DataSet) -> None:
    """Load the template before hours are spent on preprocessing, and describe the derivative."""
    if importlib.util.find_spec("ants") is None:
        raise InputError(
            "raw images are preprocessed with ANTs, which is not installed; run pip install "
            "'circuitshift[preproc]', or use output of fMRIPrep as input"
        )
    from circuitshift.pipeline.preproc.template import load_template  # noqa: PLC0415 - scipy

    load_template(settings.template)
    bids.write_dataset_description(
        data_set.outputs / "preproc",
        name="circuitshift: preprocessed images",
        sources=(str(data_set.participants),),
    )


#: Folder of the derivative in the output folder.
CONVERTED = "converted"


@contextmanager
def converted_input(request: Request) -> Iterator[tuple[Request, int]]:
    """Convert the files that ``[input]`` of the study file describes.

    Parameters
    ----------
    request : Request
        After `check_folders`.

    Yields
    ------
    request : Request
        The same request if the study file has no table ``[input]``; otherwise its main data set is
        the derivative ``OUTPUT_DIR/converted``. With ``--dry-run`` the derivative is temporary, and
        nothing is written into the output folder.
    status : int
        `EXIT_PARTIAL` if a file could not be read, otherwise `EXIT_OK`.
    """
    inputs = read_inputs(request.study_file) if request.study_file else ()
    if not inputs or request.freeze_plan:
        yield request, EXIT_OK
        return
    from circuitshift.pipeline.bids.convert.derivative import convert_inputs  # noqa: PLC0415 - numpy

    with tempfile.TemporaryDirectory() as temporary:
        if request.dry_run:
            folder = Path(temporary) / CONVERTED
        else:
            bids.refuse_foreign(request.output_dir)
            check_writable("OUTPUT_DIR", request.output_dir)
            folder = request.output_dir / CONVERTED
        made = convert_inputs(request.bids_dir, inputs, folder)
        for note in made.notes:
            notify(f"note: {note}")
        if not request.dry_run:
            notify(f"{'converted' if made.is_new else 'unchanged'}: {folder}")
        main, *others = request.folders
        made_of = replace(main, participants=folder, files=folder)
        status = EXIT_OK if made.is_complete else EXIT_PARTIAL
        yield replace(request, folders=(made_of, *others)), status
