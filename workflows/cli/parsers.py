"""What the command line takes: the flags of the BIDS App and of the tools, and their help.

Nothing heavy is imported at the top, so that ``--help`` answers at once.
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

__all__ = ["app_parser", "tool_parsers"]

_DESCRIPTION = """\
When a treatment changes brain connectivity, is the change global or circuit-specific?

circuitshift BIDS_DIR OUTPUT_DIR participant    regional series, edges and a report per person
circuitshift BIDS_DIR OUTPUT_DIR group          tests, verdict and the report of the study
"""

_EPILOG = """\
tools (each has --help):
  circuitshift demo OUT         simulate a study, run both levels, compare with the planted truth
  circuitshift simulate OUT     write a simulated longitudinal BIDS and fMRIPrep-like data set
  circuitshift power OUT        people and minutes needed, by simulation
  circuitshift calibrate        how often the tests are right when the truth is known
  circuitshift slurm BIDS_DIR OUTPUT_DIR    both levels as jobs of Slurm; --submit, --status
  circuitshift fetch DS DIR     what an analysis needs of a data set of OpenNeuro, verified
  circuitshift validate RECIPE  fetch, run both levels, compare with what was published

exit status: 0 all went well; 1 nothing could be done; 2 wrong usage;
  3 finished, but some people or runs failed: see exclusions.tsv and the reports
"""


class _Parser(argparse.ArgumentParser):
    """Takes snake case for kebab case, and suggests the nearest flag when one is unknown."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - argparse's own
        """Parse; both spellings of a flag are one."""
        given = [_kebab(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Add the nearest flag to the message and exit with 2."""
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
    """Make the parser of the BIDS App."""
    parser = _Parser(
        prog="circuitshift",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "bids_dir",
        type=Path,
        help="data set: fMRIPrep's output, a raw data set with derivatives/ or without, or a "
        "folder of *_timeseries.tsv or *_relmat.tsv",
    )
    parser.add_argument("output_dir", type=Path, help="where results go")
    parser.add_argument("analysis_level", choices=("participant", "group"))
    _add_selection(parser)
    _add_settings(parser)
    _add_execution(parser)
    parser.add_argument("--version", action="version", version=_version())
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which data")
    group.add_argument(
        "--participant-label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="people, with or without sub-",
    )
    group.add_argument(
        "--session-label",
        "--session-id",
        nargs="+",
        default=[],
        metavar="LABEL",
        dest="session_label",
        help="sessions, with or without ses-",
    )
    group.add_argument("--task-id", "-t", nargs="+", default=[], metavar="TASK")
    group.add_argument(
        "--space",
        nargs="+",
        default=[],
        metavar="SPACE",
        help="template space of the images, e.g. MNI152NLin2009cAsym",
    )
    group.add_argument(
        "--input-type",
        nargs="+",
        default=[],
        choices=("bold", "timeseries", "relmat", "raw"),
        help="where to enter; default: preprocessed images, else series, else matrices, else raw",
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help="JSON with a 'bold' query, as for fMRIPrep",
    )
    group.add_argument(
        "--derivatives",
        "-d",
        type=_named_path,
        metavar="[NAME=]PATH",
        help="where the preprocessed files of BIDS_DIR are",
    )
    group.add_argument(
        "--reference-dataset",
        type=_named_path,
        metavar="NAME=PATH",
        help="further data set whose people are the healthy reference",
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="do not run bids-validator-deno on a raw BIDS_DIR (it is run when "
        "installed; its errors are warnings)",
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is measured and tested (may change numbers)")
    group.add_argument(
        "--atlas",
        nargs="+",
        default=None,
        metavar="NAME|PATH",
        help="the first one gives the verdict; default seitzman300",
    )
    group.add_argument(
        "--circuits",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="TOML files with further circuits",
    )
    group.add_argument(
        "--denoise",
        nargs="+",
        default=None,
        metavar="STRATEGY",
        help="the first one gives the verdict, the others its sensitivity; default "
        "24p+acompcor, with its +gsr twin",
    )
    group.add_argument(
        "--denoise-file",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="TOML files with further strategies",
    )
    group.add_argument(
        "--estimator",
        choices=("pearson", "partial"),
        help="of edges: full correlation (default), or partial correlation, Ledoit-Wolf",
    )
    group.add_argument(
        "--dummy-scans",
        type=_count,
        metavar="N",
        help="volumes to drop at the start; default: fMRIPrep's non-steady state",
    )
    group.add_argument(
        "--output-space",
        "--output-spaces",
        metavar="TEMPLATE",
        dest="output_space",
        help="template that raw images are normalised to: MNI152NLin2009aSym (default, needs no "
        "network), or any of TemplateFlow",
    )
    group.add_argument(
        "--ignore",
        nargs="+",
        choices=("slicetiming",),
        default=[],
        help="steps left out of the preprocessing of raw images",
    )
    group.add_argument(
        "--min-coverage",
        type=_share,
        metavar="SHARE",
        help="a region with less signal is n/a; default 0.5",
    )
    group.add_argument(
        "--min-minutes",
        type=_amount,
        metavar="MIN",
        help="a run that keeps less is excluded; default 2",
    )
    group.add_argument(
        "--max-mean-fd",
        type=_amount,
        metavar="MM",
        help="a run that moves more is excluded; default 0.5",
    )
    group.add_argument(
        "--study",
        type=Path,
        metavar="FILE",
        help="TOML: sessions, groups, covariates, hypotheses, permutations",
    )
    group.add_argument(
        "--ratings",
        type=Path,
        metavar="DIR",
        help="ratings saved from people's pages, for the group level; default OUTPUT_DIR/ratings",
    )


def _add_execution(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where and how it runs (changes no number)")
    group.add_argument(
        "--work-dir",
        "-w",
        type=Path,
        default=Path("work"),
        metavar="DIR",
        help="scratch folder; deleting it loses nothing; default work",
    )
    group.add_argument(
        "--nprocs",
        "--nthreads",
        "--n-cpus",
        type=_number,
        default=None,
        metavar="N",
        dest="nprocs",
        help="processes; default: all processors",
    )
    group.add_argument(
        "--omp-nthreads",
        type=_number,
        metavar="N",
        help="threads inside each process; default 1",
    )
    group.add_argument(
        "--mem-gb",
        "--mem",
        type=_amount,
        metavar="GB",
        dest="mem_gb",
        help="memory that may be used",
    )
    group.add_argument(
        "--nipype-plugin-file",
        "--use-plugin",
        type=Path,
        metavar="FILE",
        dest="nipype_plugin_file",
        help="YAML or JSON: plugin, plugin_args",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print people, sessions, what is missing and what would be written",
    )
    group.add_argument(
        "--reports-only", action="store_true", help="write the reports again from what is there"
    )
    group.add_argument(
        "--preproc-only",
        action="store_true",
        help="preprocess raw images and stop",
    )
    group.add_argument(
        "--clean-workdir",
        action="store_true",
        help="empty the scratch folder before and after",
    )
    group.add_argument(
        "--freeze-plan",
        action="store_true",
        help="write group/plan.json before any arm label is read, and stop",
    )
    group.add_argument("--stop-on-first-crash", action="store_true")
    group.add_argument("--write-graph", action="store_true", help="write the workflow's graph")
    group.add_argument(
        "--resource-monitor",
        action="store_true",
        help="record memory and processor use of each step",
    )
    group.add_argument(
        "--notrack", action="store_true", help="accepted for habit: nothing is ever sent anywhere"
    )
    group.add_argument(
        "--verbose", "-v", action="count", default=0, help="more words; -vv for Nipype's own log"
    )


def _bounded(text: str, low: float, high: float, words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
    return value


def _share(text: str) -> float:
    return _bounded(text, 0, 1, "a share from 0 to 1")


def _amount(text: str) -> float:
    return _bounded(text, 0, float("inf"), "a number from 0 up")


def _count(text: str) -> int:
    value = _bounded(text, 0, float("inf"), "a whole number from 0 up")
    if value != int(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(value)


def _number(text: str) -> int:
    value = _count(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return value


def _named_path(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals else ("", Path(text))


def _version() -> str:
    from circuitshift.pipeline import __version__  # noqa: PLC0415

    return f"circuitshift {__version__}"


def tool_parsers() -> dict[str, argparse.ArgumentParser]:
    """Make the parser of each tool."""
    demo = _Parser(
        prog="circuitshift demo",
        allow_abbrev=False,
        description=(
            "Simulate a study (two arms and a reference group, two sessions, small images), run "
            "the participant and group levels, and compare the verdict with the planted truth."
        ),
    )
    _add_simulation(demo)
    demo.add_argument("--nprocs", type=_number, default=None, metavar="N")
    simulate = _Parser(
        prog="circuitshift simulate",
        allow_abbrev=False,
        description=(
            "Write a longitudinal BIDS data set with a planted truth: derivatives as of fMRIPrep, "
            "or raw images."
        ),
    )
    _add_simulation(simulate)
    simulate.add_argument(
        "--layout",
        type=Path,
        metavar="FILELIST",
        help="write small images under the names in this list of files instead",
    )
    simulate.add_argument(
        "--participants", type=Path, metavar="TSV", help="participants.tsv to put beside them"
    )
    calibrate = _Parser(
        prog="circuitshift calibrate",
        allow_abbrev=False,
        description=(
            "Simulate many studies with each planted truth and count how often each test is right. "
            "With BIDS_DIR and OUTPUT_DIR of an analysed study: how often tests reject when signs "
            "of its people's changes, or halves of its runs, are exchanged at random."
        ),
    )
    calibrate.add_argument("bids_dir", type=Path, nargs="?", help="your own study, as at the group")
    calibrate.add_argument("output_dir", type=Path, nargs="?", help="level, which has been run")
    calibrate.add_argument("--study", type=Path, metavar="FILE", help="its study file")
    calibrate.add_argument(
        "--table",
        choices=("truths", "hard", "large"),
        default="truths",
        help="known truths; what a hostile reviewer would try; the truths with 100 people",
    )
    calibrate.add_argument("--studies", type=_number, default=200, metavar="N", help="a row; 200")
    calibrate.add_argument("--n-permutations", type=int, default=500, metavar="N")
    calibrate.add_argument("--seed", type=int, default=20260101)
    power = _Parser(
        prog="circuitshift power",
        allow_abbrev=False,
        description=(
            "Simulate studies of several sizes and count how often each question is answered."
        ),
    )
    power.add_argument("output_dir", type=Path)
    power.add_argument("--n", type=_number, nargs="+", default=[20, 30, 40, 60], help="per arm")
    power.add_argument("--specific", type=float, default=0.1, metavar="Z", help="a circuit; .1")
    power.add_argument("--shift", type=float, default=0.0, metavar="Z", help="of all edges; 0")
    power.add_argument("--gain", type=float, default=0.0, metavar="SHARE", help="of all edges; 0")
    power.add_argument("--arms", type=int, choices=(1, 2), default=2)
    power.add_argument(
        "--reliability", type=_share, default=None, metavar="ICC", help="of a circuit's mean edge"
    )
    power.add_argument("--minutes", type=_amount, default=None, metavar="MIN", help="per visit")
    power.add_argument("--studies", type=_number, default=200, metavar="N", help="a size; 200")
    power.add_argument("--seed", type=int, default=20260101)
    return {
        "demo": demo,
        "simulate": simulate,
        "calibrate": calibrate,
        "power": power,
        "slurm": _slurm_parser(),
        "fetch": _fetch_parser(),
        "validate": _validate_parser(),
    }


def _slurm_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="circuitshift slurm",
        allow_abbrev=False,
        description=(
            "Write the scripts of an array job, one person a task, and of a group job after it. "
            "Whoever is done already, as the outputs say, is left out: the same command again "
            "takes those who failed or are new. Flags of the BIDS App are passed on."
        ),
    )
    parser.add_argument("bids_dir", type=Path, help="as of the BIDS App")
    parser.add_argument("output_dir", type=Path, help="scripts and logs go to logs/slurm in it")
    jobs = parser.add_argument_group("jobs")
    jobs.add_argument("--submit", action="store_true", help="submit them, too")
    jobs.add_argument(
        "--status", action="store_true", help="only say who is done, from the outputs"
    )
    jobs.add_argument(
        "--container",
        type=Path,
        metavar="IMAGE",
        help="Apptainer image to run instead of this Python",
    )
    jobs.add_argument(
        "--array-limit", type=_number, default=20, metavar="N", help="people at a time; 20"
    )
    jobs.add_argument(
        "--array-size",
        type=_number,
        default=1000,
        metavar="N",
        help="tasks of one array; 1000, since Slurm's MaxArraySize is 1001 unless it was changed",
    )
    jobs.add_argument(
        "--time", type=_number, metavar="MIN", help="minutes for a person; default: as measured"
    )
    jobs.add_argument("--group-time", type=_number, metavar="MIN", help="and for the group level")
    jobs.add_argument(
        "--group-mem-gb",
        type=_amount,
        metavar="GB",
        help="memory of the group level; --mem-gb is that of a person; default: as measured",
    )
    jobs.add_argument(
        "--sbatch-args",
        default="",
        metavar="WORDS",
        help="further words for sbatch: --sbatch-args='--account=mine --partition=long'",
    )
    jobs.add_argument("--no-group", action="store_true", help="people only")
    _add_selection(parser)
    _add_settings(parser)
    _add_execution(parser)
    return parser


def _fetch_parser() -> argparse.ArgumentParser:
    fetch = _Parser(
        prog="circuitshift fetch",
        allow_abbrev=False,
        description=(
            "Fetch what an analysis needs of a data set of OpenNeuro: tables, and the runs in one "
            "template space with masks and confounds (--derivatives), or raw runs. Files are "
            "verified; run again, it goes on where it stopped."
        ),
    )
    fetch.add_argument("dataset", help="accession number, such as ds003007")
    fetch.add_argument("folder", type=Path, help="where it goes")
    fetch.add_argument(
        "--derivatives",
        metavar="NAME[=URL]",
        type=_named_url,
        help="fetch preprocessed images from OpenNeuroDerivatives, such as fmriprep, or from "
        "another git-annex repository",
    )
    fetch.add_argument("--tag", default="", help="version; default: the derivative's, or newest")
    fetch.add_argument(
        "--include",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="paths to fetch instead of what the analysis needs, such as 'sub-01/*'",
    )
    fetch.add_argument("--participant-label", nargs="+", default=[], metavar="LABEL")
    fetch.add_argument("--session-label", nargs="+", default=[], metavar="LABEL")
    fetch.add_argument("--task-id", nargs="+", default=[], metavar="TASK")
    fetch.add_argument("--space", nargs="+", default=[], metavar="SPACE")
    fetch.add_argument("--dry-run", action="store_true", help="say how much it would be, and stop")
    return fetch


def _validate_parser() -> argparse.ArgumentParser:
    validate = _Parser(
        prog="circuitshift validate",
        allow_abbrev=False,
        description=(
            "Fetch the data sets of a recipe, run the participant and group levels, and compare "
            "with what was published."
        ),
    )
    validate.add_argument("recipe", help="name of a recipe, or a TOML file; 'list' lists them")
    validate.add_argument(
        "output_dir", type=Path, nargs="?", help="default: validation/RECIPE", default=None
    )
    validate.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="where the data sets are, each under its number, or go to; default: OUTPUT_DIR/data",
    )
    validate.add_argument(
        "--replica",
        action="store_true",
        help="simulate small images under the data sets' names instead of fetching them",
    )
    validate.add_argument("--work-dir", "-w", type=Path, metavar="DIR")
    validate.add_argument("--nprocs", type=_number, default=None, metavar="N")
    return validate


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
        help="raw images of heads that move, to be preprocessed first",
    )
    for flag, n in (("treated", 6), ("control", 0), ("reference", 4)):
        parser.add_argument(
            f"--n-{flag}", type=_count, metavar="N", help=f"people; 14, or {n} with --raw"
        )
