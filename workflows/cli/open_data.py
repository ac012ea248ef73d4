"""Tools for published data: fetch and validate."""

import re
import time
from pathlib import Path

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.validation.opendata.compare import account, compare, write_comparison
from circuitshift.pipeline.validation.opendata.fetch import fetch as fetch_files
from circuitshift.pipeline.validation.opendata.fetch import is_fetched, published_sources
from circuitshift.pipeline.validation.opendata.git_source import fetch_git, is_present, terms
from circuitshift.pipeline.validation.opendata.recipe import (
    Recipe,
    RecipeData,
    load_recipe,
    recipe_names,
)
from circuitshift.workflows.cli.bids_app import app
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK
from circuitshift.workflows.cli.preflight import CONVERTED
from circuitshift.workflows.cli.request import app_request
from circuitshift.workflows.cli.terminal import notify
from circuitshift.workflows.cli.tool_requests import FetchRequest, ValidateRequest
from circuitshift.workflows.plan import count_participants

__all__ = ["fetch", "run_open_data", "validate"]


def run_open_data(request: FetchRequest | ValidateRequest) -> int:
    """Run the tool that a request describes.

    Parameters
    ----------
    request : FetchRequest or ValidateRequest
        Request made from the command line.

    Returns
    -------
    int
        Exit status.
    """
    return fetch(request) if isinstance(request, FetchRequest) else validate(request)


def fetch(request: FetchRequest) -> int:
    """Download the files of one data set that an analysis needs.

    Parameters
    ----------
    request : FetchRequest
        Data set, target folder and selection of files.

    Returns
    -------
    int
        Exit status.
    """
    start = time.monotonic()
    fetched = fetch_files(
        request.dataset,
        request.folder,
        request.selection,
        tag=request.tag,
        derivatives=request.derivatives,
        notify=notify,
        dry_run=request.dry_run,
    )
    commits = {"raw": fetched.commit or "not available", **fetched.derivatives}
    commit_list = ", ".join(f"{name} {commit}" for name, commit in commits.items())
    notify(f"version {fetched.tag}; commits: {commit_list}")
    if not request.dry_run:
        notify(
            f"{fetched.n_files} files are complete ({time.monotonic() - start:.0f} s): "
            f"{fetched.folder}"
        )
    return EXIT_OK


def validate(request: ValidateRequest) -> int:
    """Fetch the data sets of a recipe, run both levels, and compare with published results.

    Parameters
    ----------
    request : ValidateRequest
        Recipe and folders.

    Returns
    -------
    int
        Exit status; `EXIT_FAILED` if participants are missing from the results.

    Raises
    ------
    InputError
        If a folder contains another validation or other data.
    """
    if request.recipe == "list":
        for name in recipe_names():
            notify(f"{name}  {load_recipe(name).title}")
        return EXIT_OK
    start = time.monotonic()
    recipe = load_recipe(request.recipe)
    out = (request.output_dir or Path("validation") / recipe.name).absolute()
    data = (request.data or out / "data").absolute()
    _prepare_folder(out, recipe, data, replica=request.replica)
    if request.replica:
        from circuitshift.pipeline.validation.opendata.replica import write_replica  # noqa: PLC0415

        write_replica(recipe, data)
    for data_set in recipe.data_sets:
        _fetch_missing(data_set, data / data_set.accession)
    status = _run_levels(recipe, data, out, request)
    return max(status, _compare(recipe, data, out, start, simulated=request.replica))


def _prepare_folder(out: Path, recipe: Recipe, data: Path, *, replica: bool) -> None:
    """Record the recipe of a folder, and refuse a folder of another recipe."""
    record, content = out / "validation.json", {"recipe": recipe.name, "replica": replica}
    if record.exists() and tables.read_json(record) != content:
        raise InputError(f"{out} contains another validation ({record}); choose another folder")
    published = [d.accession for d in recipe.data_sets if published_sources(data / d.accession)]
    if replica and published:
        raise InputError(
            f"{data} contains the published data of {', '.join(published)}; choose another folder "
            "with --data"
        )
    out.mkdir(parents=True, exist_ok=True)
    tables.write_json(record, content)
    text = tables.read_text(recipe.study)
    if any((data / recipe.data_sets[0].accession).glob("sub-*")):  # nothing to convert
        text = _without_input(text)
    if replica and "[tests]" not in text:  # p values of simulated images need no precision
        text += "\n[tests]\nn_permutations = 100\n"
    tables.write_text(out / "study.toml", text)


def _without_input(text: str) -> str:
    """Remove the tables ``[input]`` of a study file, which describe files that are not in BIDS."""
    parts = re.split(r"(?m)^(?=\[)", text)
    return "".join(part for part in parts if not re.match(r"\[\[?input\]", part))


def _fetch_missing(data_set: RecipeData, folder: Path) -> None:
    if data_set.source is not None:
        if is_present(data_set.source, folder):
            notify(f"{data_set.accession}: using the files in {folder}")
            notify(f"origin: {terms(data_set.source)}")
        else:
            fetch_git(data_set.source, folder, notify=notify)
        return
    if is_fetched(folder):
        notify(f"{data_set.accession}: using the files in {folder}")
        return
    derivatives = (data_set.derivatives, "") if data_set.derivatives else None
    fetch_files(
        data_set.accession,
        folder,
        data_set.selection,
        tag=data_set.tag,
        derivatives=derivatives,
        notify=notify,
    )


def _sources(data_set: RecipeData, folder: Path) -> tuple[str, ...]:
    """Return the origin of a data set for the page, with the terms of use of git repositories."""
    if data_set.source is None:
        return published_sources(folder)
    own_copy = () if published_sources(folder) else ("A copy, not fetched by circuitshift.",)
    return (*published_sources(folder), *own_copy, terms(data_set.source))


def _run_levels(recipe: Recipe, data: Path, out: Path, request: ValidateRequest) -> int:
    """Run the participant and group levels with the same commands as a user."""
    first = recipe.data_sets[0]
    folders = [str(_input_folder(first, data, out)), str(out / "results")]
    flags = ["--study", str(out / "study.toml"), "--skip-bids-validation"]
    flags += ["-w", str(request.work_dir or out / "work")]
    flags += ["--circuits", str(recipe.circuits)] if recipe.circuits else []
    flags += ["--task-id", *first.tasks] if first.tasks else []
    flags += ["--session-label", *first.sessions] if first.sessions else []
    for other in recipe.data_sets[1:]:
        flags += ["--reference-dataset", f"{other.accession}={data / other.accession}"]
    if request.nprocs:
        flags += ["--nprocs", str(request.nprocs)]
    status = EXIT_OK
    for level in ("participant", "group"):
        words = [*folders, level, *flags]
        notify(f"\n$ circuitshift {' '.join(words)}")
        status = max(status, app(app_request(words)))
    return status


def _input_folder(data_set: RecipeData, data: Path, out: Path) -> Path:
    """Return the folder to analyse: the data set, or regional series computed from its images."""
    root = data / data_set.accession
    if not data_set.series_space:
        return root
    from circuitshift.pipeline.validation.opendata.image_series import write_image_series  # noqa: PLC0415

    folder = out / "series"
    n_runs, problems = write_image_series(
        root,
        folder,
        space=data_set.series_space,
        atlas=AnalysisSettings().atlases[0],
        runs=data_set.runs,
    )
    notify(f"regional series of {n_runs} runs: {folder}")
    for problem in problems:
        notify(f"  {problem}")
    return folder


def _compare(recipe: Recipe, data: Path, out: Path, start: float, *, simulated: bool) -> int:
    """Write the comparison; return a failure if participants are missing from the results."""
    folders = {d.accession: data / d.accession for d in recipe.data_sets}
    converted = out / "results" / CONVERTED
    group = out / "results" / "group"
    rows = compare(recipe, group, simulated=simulated)
    main, *others = folders
    named = [
        ("", converted if converted.exists() else folders[main]),
        *((name, folders[name]) for name in others),
    ]
    accounted = account(group, named)
    page = write_comparison(
        out,
        recipe,
        rows,
        accounted,
        sources={d.accession: _sources(d, folders[d.accession]) for d in recipe.data_sets},
        simulated=simulated,
    )
    notify(f"\n{'simulated images' if simulated else 'published data'}: {recipe.title}")
    for row in rows:
        notify(f"  {row.quantity}: published {row.published}; here {row.ours}; {row.agreement}")
    notify(
        f"{count_participants(accounted.available)}: {accounted.analysed} in the results, "
        f"{accounted.excluded} excluded with a reason, {len(accounted.missing)} unaccounted for "
        f"({time.monotonic() - start:.0f} s)"
    )
    notify(f"comparison: {page}")
    return EXIT_FAILED if accounted.missing else EXIT_OK
