"""Command-line parser of the BIDS App, with its help texts.

Only light modules are imported at the top, so that ``--help`` is fast.
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

__all__ = [
    "KebabParser",
    "add_execution",
    "add_selection",
    "add_settings",
    "amount",
    "app_parser",
    "count",
    "positive_number",
    "share",
]

_DESCRIPTION = """\
Is a treatment's effect on brain connectivity global or circuit-specific?

circuitshift BIDS_DIR OUTPUT_DIR participant    time series, connectivity and a quality report
                                                for each participant
circuitshift BIDS_DIR OUTPUT_DIR group          statistical tests, the verdict and the study report
"""

_EPILOG = """\
tools (each has --help):
  circuitshift init BIDS_DIR    write a study file with each decision that follows from the data
  circuitshift demo OUT         simulate a trial, run both levels, compare with the planted effect
  circuitshift simulate OUT     write a simulated longitudinal BIDS data set
  circuitshift power OUT        estimate the required sample size and scan time by simulation
  circuitshift calibrate        estimate error rates and power on simulated studies
  circuitshift slurm BIDS_DIR OUTPUT_DIR    run both levels as Slurm jobs (--submit, --status)
  circuitshift fetch DS DIR     download the files that an analysis needs from OpenNeuro
  circuitshift pool OUT OUT ... combine finished analyses of several data sets or sites
  circuitshift validate RECIPE  download published data, analyse them, compare the results

exit status: 0 success; 1 stopped with an error; 2 invalid arguments;
  3 finished, but some participants or runs failed: see exclusions.tsv and the reports;
  130 interrupted from the keyboard
"""


class KebabParser(argparse.ArgumentParser):
    """Accept flags in snake case, and suggest the nearest flag when one is unknown."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - argparse's own
        """Parse arguments after converting flags from snake case to kebab case."""
        given = [_kebab(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Add the nearest flag to the message, and exit with status 2."""
        import difflib  # noqa: PLC0415 - only for the message

        words = [w.split("=")[0] for w in message.partition("arguments: ")[2].split()]
        flags = [flag for action in self._actions for flag in action.option_strings]
        near = [n for w in words for n in difflib.get_close_matches(w, flags, 1)]
        super().error(message + (f"; did you mean {near[0]}?" if near else ""))


def _kebab(word: str) -> str:
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value


def app_parser() -> argparse.ArgumentParser:
    """Return the parser of the BIDS App."""
    parser = KebabParser(
        prog="circuitshift",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "bids_dir",
        type=Path,
        help="input data set: fMRIPrep output, a raw BIDS data set with or without derivatives/, "
        "or a folder of *_timeseries.tsv or *_relmat.tsv files",
    )
    parser.add_argument("output_dir", type=Path, help="folder for all results")
    parser.add_argument(
        "analysis_level",
        choices=("participant", "group"),
        help="participant: measure each participant; group: analyse the study",
    )
    add_selection(parser)
    add_settings(parser)
    add_execution(parser)
    parser.add_argument("--version", action="version", version=_version())
    return parser


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the flags that select data."""
    from circuitshift.pipeline.bids.input_types import INPUT_TYPES  # noqa: PLC0415 - not for tools

    group = parser.add_argument_group("data selection")
    group.add_argument(
        "--participant-label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="participants to process, with or without sub-",
    )
    group.add_argument(
        "--session-label",
        "--session-id",
        nargs="+",
        default=[],
        metavar="LABEL",
        dest="session_label",
        help="sessions to process, with or without ses-",
    )
    group.add_argument(
        "--task-id",
        "-t",
        nargs="+",
        default=[],
        metavar="TASK",
        help="tasks to process",
    )
    group.add_argument(
        "--space",
        nargs="+",
        default=[],
        metavar="SPACE",
        help="template space of the images, for example MNI152NLin2009cAsym",
    )
    group.add_argument(
        "--input-type",
        nargs="+",
        default=[],
        choices=(*INPUT_TYPES, "raw"),
        help="type of input; default: preprocessed images if available, else time series, else "
        "matrices, else raw images",
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help="JSON file with a 'bold' query, in the format of fMRIPrep",
    )
    group.add_argument(
        "--derivatives",
        "-d",
        type=_named_path,
        metavar="[NAME=]PATH",
        help="folder with the preprocessed files of BIDS_DIR",
    )
    group.add_argument(
        "--reference-dataset",
        type=_named_path,
        metavar="NAME=PATH",
        help="additional data set whose participants are the healthy reference group",
    )
    group.add_argument(
        "--participants",
        type=Path,
        metavar="FILE",
        help="table of participants to use instead of BIDS_DIR/participants.tsv, for data sets "
        "that cannot be changed",
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="do not run bids-validator-deno on a raw BIDS_DIR (by default it runs if it is "
        "installed, and its errors are reported as warnings)",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags that can change the results."""
    group = parser.add_argument_group("analysis settings (can change the results)")
    group.add_argument(
        "--atlas",
        nargs="+",
        default=None,
        metavar="NAME|PATH",
        help="atlases; the verdict is based on the first one; default: seitzman300circuits",
    )
    group.add_argument(
        "--circuits",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="TOML files with additional circuits",
    )
    group.add_argument(
        "--denoise",
        nargs="+",
        default=None,
        metavar="STRATEGY",
        help="denoising strategies; the verdict is based on the first one, the others are "
        "sensitivity analyses; default: 24p+acompcor and its +gsr counterpart",
    )
    group.add_argument(
        "--denoise-file",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="TOML files with additional denoising strategies",
    )
    group.add_argument(
        "--estimator",
        choices=("pearson", "partial"),
        help="connectivity measure: Pearson correlation (default), or partial correlation from the "
        "Ledoit-Wolf covariance",
    )
    group.add_argument(
        "--dummy-scans",
        type=count,
        metavar="N",
        help="volumes to discard at the start of each run; default: the non-steady-state volumes "
        "that fMRIPrep detected",
    )
    group.add_argument(
        "--output-space",
        "--output-spaces",
        metavar="TEMPLATE",
        dest="output_space",
        help="template to which raw images are normalised: MNI152NLin2009aSym (default, needs no "
        "network) or any template of TemplateFlow",
    )
    group.add_argument(
        "--ignore",
        nargs="+",
        choices=("slicetiming",),
        default=[],
        help="steps to omit from the preprocessing of raw images",
    )
    group.add_argument(
        "--structure",
        choices=("volumes",),
        help="measure the brain structure of each session in raw T1-weighted images: volumes of "
        "the regions of --atlas, and grey matter",
    )
    group.add_argument(
        "--min-coverage",
        type=share,
        metavar="SHARE",
        help="minimum share of a region's voxels that must contain signal; default: 0.5",
    )
    group.add_argument(
        "--min-signal",
        type=share,
        metavar="SHARE",
        help="minimum mean signal of a voxel, as a share of the run's median over the brain; "
        "voxels below it (signal dropout) are not covered; default: 0.4",
    )
    group.add_argument(
        "--min-minutes",
        type=amount,
        metavar="MIN",
        help="minimum scan time after censoring, in minutes, for a run to be included; default: 2",
    )
    group.add_argument(
        "--visit-minutes",
        type=minutes,
        metavar="MIN",
        help="use the first MIN retained minutes of each visit, and exclude visits with fewer; "
        "default: all",
    )
    group.add_argument(
        "--combine-runs",
        choices=("average", "concatenate"),
        help="combine the runs of a visit as the weighted mean of their Fisher z (default), or by "
        "one correlation of their concatenated time series",
    )
    group.add_argument(
        "--max-mean-fd",
        type=amount,
        metavar="MM",
        help="maximum mean framewise displacement, in mm, for a run to be included; default: 0.5",
    )
    group.add_argument(
        "--study",
        type=Path,
        metavar="FILE",
        help="TOML file that describes the study: sessions, groups, covariates, hypotheses, tests",
    )
    group.add_argument(
        "--ratings",
        type=Path,
        metavar="DIR",
        help="folder with ratings saved from the participant reports, used by the group level; "
        "default: OUTPUT_DIR/ratings",
    )


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Add the flags that do not change the results."""
    group = parser.add_argument_group("execution (does not change the results)")
    group.add_argument(
        "--work-dir",
        "-w",
        type=Path,
        default=Path("work"),
        metavar="DIR",
        help="folder for temporary files, which can be deleted afterwards; default: work",
    )
    group.add_argument(
        "--nprocs",
        "--nthreads",
        "--n-cpus",
        type=positive_number,
        default=None,
        metavar="N",
        dest="nprocs",
        help="number of processes; default: number of processors",
    )
    group.add_argument(
        "--omp-nthreads",
        type=positive_number,
        metavar="N",
        help="number of threads of each process; default: 1",
    )
    group.add_argument(
        "--mem-gb",
        "--mem",
        type=amount,
        metavar="GB",
        dest="mem_gb",
        help="memory limit, in GB",
    )
    group.add_argument(
        "--nipype-plugin-file",
        "--use-plugin",
        type=Path,
        metavar="FILE",
        dest="nipype_plugin_file",
        help="YAML or JSON file with the Nipype plugin and its arguments (plugin, plugin_args)",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print the design of the study, the participants, sessions and outputs to be written, "
        "then exit",
    )
    group.add_argument(
        "--reports-only", action="store_true", help="rewrite the reports from existing outputs"
    )
    group.add_argument(
        "--preproc-only",
        action="store_true",
        help="preprocess raw images, then exit",
    )
    group.add_argument(
        "--clean-workdir",
        action="store_true",
        help="delete the temporary files of this run even if it ends with an error",
    )
    group.add_argument(
        "--freeze-plan",
        action="store_true",
        help="write the analysis plan to group/plan.json before group labels are read, then exit",
    )
    group.add_argument(
        "--stop-on-first-crash",
        action="store_true",
        help="stop when the first step fails, instead of completing the other participants",
    )
    group.add_argument("--write-graph", action="store_true", help="write the graph of the workflow")
    group.add_argument(
        "--resource-monitor",
        action="store_true",
        help="record the memory and processor use of each step",
    )
    group.add_argument(
        "--notrack",
        action="store_true",
        help="accepted for compatibility; circuitshift never sends usage data",
    )
    group.add_argument(
        "--verbose",
        "-v",
        action="count",
        default=0,
        help="print more messages; -vv also prints the log of Nipype",
    )


def _bounded(text: str, low: float, high: float, words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
    return value


def share(text: str) -> float:
    """Read a number between 0 and 1."""
    return _bounded(text, 0, 1, "a number between 0 and 1")


def amount(text: str) -> float:
    """Read a number of at least 0."""
    return _bounded(text, 0, float("inf"), "a number of at least 0")


def minutes(text: str) -> float:
    """Read a number above 0."""
    value = _bounded(text, 0, float("inf"), "a number above 0")
    if value in (0, float("inf")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def count(text: str) -> int:
    """Read a whole number of at least 0."""
    value = _bounded(text, 0, float("inf"), "a whole number of at least 0")
    if not value.is_integer():  # includes infinity
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(value)


def positive_number(text: str) -> int:
    """Read a whole number of at least 1."""
    value = count(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def _named_path(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals else ("", Path(text))


def _version() -> str:
    from circuitshift.pipeline import __version__  # noqa: PLC0415

    return f"circuitshift {__version__}"
