"""Command-line parsers of the tools, with their help texts.

Only light modules are imported at the top, so that ``--help`` is fast.
"""

import argparse
from pathlib import Path

from circuitshift.workflows.cli.parsers import (
    KebabParser,
    add_execution,
    add_selection,
    add_settings,
    amount,
    count,
    positive_number,
    share,
)

__all__ = ["tool_parsers"]


def tool_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each tool, by name."""
    demo = KebabParser(
        prog="circuitshift demo",
        allow_abbrev=False,
        description=(
            "Simulate a study (two arms and a reference group, two sessions, small images), run "
            "the participant and group levels, and compare the verdict with the planted effect. "
            "In groups smaller than the default, the effect is often not found, and the last line "
            "is 'NOT correct'."
        ),
    )
    _add_simulation(demo)
    demo.add_argument("--nprocs", type=positive_number, default=None, metavar="N")
    simulate = KebabParser(
        prog="circuitshift simulate",
        allow_abbrev=False,
        description=(
            "Write a longitudinal BIDS data set with a planted effect, as fMRIPrep derivatives or "
            "as raw images."
        ),
    )
    _add_simulation(simulate)
    simulate.add_argument(
        "--layout",
        type=Path,
        metavar="FILELIST",
        help="write small images under the file names in this list instead",
    )
    simulate.add_argument(
        "--participants",
        type=Path,
        metavar="TSV",
        help="participants.tsv to copy into the data set (with --layout)",
    )
    calibrate = KebabParser(
        prog="circuitshift calibrate",
        allow_abbrev=False,
        description=(
            "Simulate many studies with each planted effect and report how often each test "
            "rejects. "
            "With BIDS_DIR and OUTPUT_DIR of an analysed study, report how often the tests reject "
            "when the signs of its participants' changes, or halves of its runs, are exchanged at "
            "random."
        ),
    )
    calibrate.add_argument("bids_dir", type=Path, nargs="?", help="input of an analysed study")
    calibrate.add_argument(
        "output_dir", type=Path, nargs="?", help="its output folder, after the group level"
    )
    calibrate.add_argument(
        "--study", type=Path, metavar="FILE", help="the study file of this study"
    )
    calibrate.add_argument(
        "--table",
        choices=("truths", "hard", "large", "outside"),
        default="truths",
        help=(
            "scenarios: planted effects; difficult cases; planted effects with 100 participants; "
            "effects and designs outside the model, in series of another generator"
        ),
    )
    calibrate.add_argument(
        "--arms",
        type=int,
        choices=(1, 2),
        default=None,
        help="with --table outside: only studies with this number of arms; default: both",
    )
    calibrate.add_argument(
        "--rows",
        nargs="+",
        default=[],
        metavar="NAME",
        help="with --table outside: only these rows, named as in docs/calibration.md",
    )
    calibrate.add_argument(
        "--series",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help=(
            "with --table outside: plant the effects in these measured regional series, with "
            "visits exchanged at random (a BIDS derivative, or folders of files of the CONN "
            "toolbox)"
        ),
    )
    calibrate.add_argument(
        "--studies",
        type=positive_number,
        default=200,
        metavar="N",
        help="studies per row; default: 200",
    )
    calibrate.add_argument(
        "--n-permutations", type=int, default=500, metavar="N", help="per test; default: 500"
    )
    calibrate.add_argument("--seed", type=int, default=20260101)
    power = KebabParser(
        prog="circuitshift power",
        allow_abbrev=False,
        description=(
            "Simulate studies of several sizes and report how often each effect is detected."
        ),
    )
    power.add_argument("output_dir", type=Path)
    power.add_argument(
        "--n",
        type=positive_number,
        nargs="+",
        default=[20, 30, 40, 60],
        help="participants in each arm; default: 20 30 40 60",
    )
    power.add_argument(
        "--specific",
        type=float,
        default=0.1,
        metavar="Z",
        help="change of one circuit, Fisher z; default: 0.1",
    )
    power.add_argument(
        "--shift", type=float, default=0.0, metavar="Z", help="change of all edges, Fisher z"
    )
    power.add_argument(
        "--gain", type=float, default=0.0, metavar="SHARE", help="proportional change of all edges"
    )
    power.add_argument(
        "--arms", type=int, choices=(1, 2), default=2, help="number of arms; default: 2"
    )
    power.add_argument(
        "--reliability",
        type=share,
        default=None,
        metavar="ICC",
        help="test-retest reliability of a circuit",
    )
    power.add_argument(
        "--minutes",
        type=amount,
        default=None,
        metavar="MIN",
        help="scan time per visit; default: 8",
    )
    power.add_argument(
        "--studies",
        type=positive_number,
        default=200,
        metavar="N",
        help="studies per size; default: 200",
    )
    power.add_argument("--seed", type=int, default=20260101)
    return {
        "init": _init_parser(),
        "demo": demo,
        "simulate": simulate,
        "calibrate": calibrate,
        "power": power,
        "slurm": _slurm_parser(),
        "fetch": _fetch_parser(),
        "validate": _validate_parser(),
        "pool": _pool_parser(),
    }


def _slurm_parser() -> argparse.ArgumentParser:
    parser = KebabParser(
        prog="circuitshift slurm",
        allow_abbrev=False,
        description=(
            "Write the scripts of an array job with one task per participant, and of a group job "
            "that depends on it. Participants whose outputs are complete are skipped, so the same "
            "command processes failed and new participants. Flags of the BIDS App are passed on."
        ),
    )
    parser.add_argument("bids_dir", type=Path, help="input data set, as for the BIDS App")
    parser.add_argument(
        "output_dir", type=Path, help="output folder; scripts and logs are written to logs/slurm"
    )
    jobs = parser.add_argument_group("jobs")
    jobs.add_argument("--submit", action="store_true", help="also submit the jobs")
    jobs.add_argument(
        "--status", action="store_true", help="only report which participants are complete"
    )
    jobs.add_argument(
        "--container",
        type=Path,
        metavar="IMAGE",
        help="Apptainer image to run instead of this Python environment",
    )
    jobs.add_argument(
        "--array-limit",
        type=positive_number,
        default=20,
        metavar="N",
        help="tasks that run at the same time",
    )
    jobs.add_argument(
        "--array-size",
        type=positive_number,
        default=1000,
        metavar="N",
        help="tasks per array; default: 1000 (Slurm's default MaxArraySize is 1001)",
    )
    jobs.add_argument(
        "--time",
        type=positive_number,
        metavar="MIN",
        help="time limit per participant; default: from measured resources",
    )
    jobs.add_argument(
        "--group-time", type=positive_number, metavar="MIN", help="time limit of the group level"
    )
    jobs.add_argument(
        "--group-mem-gb",
        type=amount,
        metavar="GB",
        help="memory of the group level (--mem-gb is that of each participant); default: from "
        "measured resources",
    )
    jobs.add_argument(
        "--sbatch-args",
        default="",
        metavar="ARGS",
        help="additional arguments for sbatch: --sbatch-args='--account=mine --partition=long'",
    )
    jobs.add_argument("--no-group", action="store_true", help="do not submit the group level")
    add_selection(parser)
    add_settings(parser)
    add_execution(parser)
    return parser


def _fetch_parser() -> argparse.ArgumentParser:
    fetch = KebabParser(
        prog="circuitshift fetch",
        allow_abbrev=False,
        description=(
            "Download the files of an OpenNeuro data set that an analysis needs: tables, and "
            "either "
            "the runs in one template space with masks and confounds (--derivatives), or raw runs. "
            "Files are verified. An interrupted download continues when the command is repeated."
        ),
    )
    fetch.add_argument("dataset", help="accession number, for example ds003007")
    fetch.add_argument("folder", type=Path, help="target folder")
    fetch.add_argument(
        "--derivatives",
        metavar="NAME[=URL]",
        type=_named_url,
        help="download preprocessed images from OpenNeuroDerivatives, for example fmriprep, or "
        "from another git-annex repository",
    )
    fetch.add_argument(
        "--tag", default="", help="version; default: that of the derivative, or latest"
    )
    fetch.add_argument(
        "--include",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="paths to download instead of the default selection, for example 'sub-01/*'",
    )
    fetch.add_argument("--participant-label", nargs="+", default=[], metavar="LABEL")
    fetch.add_argument("--session-label", nargs="+", default=[], metavar="LABEL")
    fetch.add_argument("--task-id", nargs="+", default=[], metavar="TASK")
    fetch.add_argument("--space", nargs="+", default=[], metavar="SPACE")
    fetch.add_argument("--dry-run", action="store_true", help="print the size, then exit")
    return fetch


def _validate_parser() -> argparse.ArgumentParser:
    validate = KebabParser(
        prog="circuitshift validate",
        allow_abbrev=False,
        description=(
            "Download the data sets of a recipe (images from OpenNeuro, series or matrices from "
            "git repositories or OpenNeuro), run the participant and group levels, and compare the "
            "results with published values."
        ),
    )
    validate.add_argument(
        "recipe", help="name of a recipe, or a TOML file; 'list' prints the names"
    )
    validate.add_argument(
        "output_dir", type=Path, nargs="?", help="default: validation/RECIPE", default=None
    )
    validate.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the data sets, each named by its accession number or by the name in the "
        "recipe; default: OUTPUT_DIR/data",
    )
    validate.add_argument(
        "--replica",
        action="store_true",
        help="simulate small images with the file names of the data sets instead of downloading",
    )
    validate.add_argument("--work-dir", "-w", type=Path, metavar="DIR")
    validate.add_argument("--nprocs", type=positive_number, default=None, metavar="N")
    return validate


def _init_parser() -> argparse.ArgumentParser:
    init = KebabParser(
        prog="circuitshift init",
        allow_abbrev=False,
        description=(
            "Write a study file that states each decision that follows from the data: the order "
            "of the visits, the groups and their roles, each with its reason and counts. Questions "
            "that the data do not answer are marked OPEN in comments."
        ),
    )
    init.add_argument("bids_dir", type=Path, help="input data set, as for the BIDS App")
    init.add_argument(
        "--output",
        "-o",
        type=Path,
        default=Path("study.toml"),
        metavar="FILE",
        help="file to write; default: study.toml",
    )
    init.add_argument(
        "--study", type=Path, metavar="FILE", help="study file whose statements are kept"
    )
    add_selection(init)
    init.set_defaults(atlas=None)
    return init


def _pool_parser() -> argparse.ArgumentParser:
    pool = KebabParser(
        prog="circuitshift pool",
        allow_abbrev=False,
        description=(
            "Combine the results of finished analyses of several data sets or sites by "
            "random-effects meta-analysis: global terms and circuits, in their unit and in units "
            "of the smallest effect of interest. Analyses that cannot be pooled are refused with "
            "the reasons."
        ),
    )
    pool.add_argument(
        "studies",
        nargs="+",
        type=_named_folder,
        metavar="[NAME=]OUTPUT_DIR",
        help="output folder of a finished group level; NAME is the name of the study in tables "
        "and figures, by default that of the folder",
    )
    pool.add_argument(
        "--output-dir",
        "-o",
        type=Path,
        default=Path("pool"),
        metavar="DIR",
        help="folder for the page and the tables; default: pool",
    )
    return pool


def _named_folder(text: str) -> tuple[str, Path]:
    """Split NAME=FOLDER; a folder whose own path contains "=" is not split."""
    name, sign, folder = text.partition("=")
    if sign and "/" not in name and not Path(text).exists():
        return name, Path(folder)
    return "", Path(text)


def _named_url(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    return name, url


def _add_simulation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output_dir", type=Path)
    parser.add_argument(
        "--truth",
        default="specific",
        choices=("nothing", "shift", "gain", "normalisation", "specific", "both"),
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--raw",
        action="store_true",
        help="simulate raw images, which are preprocessed first",
    )
    for flag, n in (("treated", 6), ("control", 0), ("reference", 4)):
        parser.add_argument(
            f"--n-{flag}",
            type=count,
            metavar="N",
            help=f"participants; default: 14, or {n} with --raw",
        )
