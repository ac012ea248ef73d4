"""Generate the Apptainer definition and the Boutiques descriptor.

Run ``python containers/derive.py`` after each change of the Dockerfile or of a flag;
``tests/test_containers.py`` compares the generated files. The definition is generated from the
Dockerfile; instructions that the Dockerfile does not use at present are refused. The descriptor is
generated from the command-line parser.
"""

import argparse
import json
import re
import shlex
from pathlib import Path

from circuitshift.pipeline import __version__
from circuitshift.workflows.cli.parsers import app_parser

HERE = Path(__file__).parent
HEAD = """\
# Generated from containers/Dockerfile by containers/derive.py. From the project's root:
#   apptainer build circuitshift.sif containers/circuitshift.def
"""
#: Not needed in Apptainer: the user is the one who runs the image, and --pwd sets the folder.
WITHOUT_MEANING = ("USER", "WORKDIR")


def instructions(text: str) -> list[tuple[str, str]]:
    """Split a Dockerfile into instructions and their arguments, without comments."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(w, rest) for w, _, rest in (line.partition(" ") for line in joined.splitlines())]


def definition(text: str) -> str:
    """Convert the text of a Dockerfile into an Apptainer definition."""
    base = ""
    stages: list[dict[str, list[str]]] = []
    heads: list[str] = []
    for word, rest in instructions(text):
        if word == "ARG":
            base = rest.partition("=")[2]
        elif word == "FROM":
            name = rest.partition(" AS ")[2] or "final"
            heads.append(f"Bootstrap: docker\nFrom: {base}\nStage: {name}\n")
            stages.append({})
        elif word not in WITHOUT_MEANING:
            section, lines = SECTIONS[word](rest)
            start = ["set -e"] if section == "post" else []
            stages[-1].setdefault(section, start).extend(lines)
    parts = [HEAD]
    for head, sections in zip(heads, stages, strict=True):
        parts.append(head)
        for section, lines in sections.items():
            parts.append("\n".join([f"%{section}", *(f"    {line}" for line in lines)]) + "\n")
    return "\n".join(parts)


def _run(rest: str) -> tuple[str, list[str]]:
    commands = re.sub(r"^(--mount=\S+ +)+", "", rest)
    return "post", [re.sub(r" +", " ", commands)]


def _copy(rest: str) -> tuple[str, list[str]]:
    found = re.match(r"--from=(\S+) +", rest)
    *sources, target = rest[found.end() if found else 0 :].split()
    if target.endswith("/"):
        pairs = [f"{source} {target}{Path(source).name}" for source in sources]
    else:
        pairs = [f"{source} {target}" for source in sources]
    return (f"files from {found[1]}" if found else "files"), pairs


def _label(rest: str) -> tuple[str, list[str]]:
    pairs = [word.partition("=") for word in shlex.split(rest)]
    return "labels", [f"{name} {value}" for name, _, value in pairs]


def _env(rest: str) -> tuple[str, list[str]]:
    return "environment", [f"export {word}" for word in shlex.split(rest)]


def _entrypoint(rest: str) -> tuple[str, list[str]]:
    return "runscript", [f'exec {shlex.join(json.loads(rest))} "$@"']


SECTIONS = {
    "RUN": _run,
    "COPY": _copy,
    "LABEL": _label,
    "ENV": _env,
    "ENTRYPOINT": _entrypoint,
}


def descriptor(parser: argparse.ArgumentParser) -> dict[str, object]:
    """Convert the parser of the BIDS App into a Boutiques descriptor."""
    actions = [a for a in parser._actions if a.dest not in ("help", "version")]
    inputs = [_input(action) for action in actions]
    line = " ".join(["circuitshift", *(str(item["value-key"]) for item in inputs)])
    return {
        "name": "circuitshift",
        "description": (
            "Test whether a treatment's effect on brain connectivity is global or "
            "circuit-specific, with longitudinal BIDS fMRI."
        ),
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": line,
        "inputs": inputs,
        "output-files": [
            _output("description", "dataset_description.json", optional=False),
            _output("verdict", "group/verdict.json", optional=True),
            _output("tests", "group/tests.tsv", optional=True),
            _output("report", "group/report.html", optional=True),
        ],
        "error-codes": [
            {"code": 1, "description": "Stopped with an error"},
            {"code": 2, "description": "Wrong usage of the command line"},
            {"code": 3, "description": "Finished, but some participants or runs failed"},
        ],
        "tags": {"field-of-study": ["neuroscience"], "application-type": ["BIDS App"]},
    }


#: Arguments that are input files. Output paths, and paths that can include a name, are strings.
FILES = {
    *("bids_dir", "bids_filter_file", "circuits", "denoise_file", "study"),
    "nipype_plugin_file",
}


def _input(action: argparse.Action) -> dict[str, object]:
    flag = max(action.option_strings, key=len, default="")
    item: dict[str, object] = {
        "id": action.dest,
        "name": action.dest.replace("_", " "),
        "type": _type(action),
        "value-key": f"[{action.dest.upper()}]",
        "optional": bool(flag),
    }
    if action.help:
        item["description"] = action.help
    if flag:
        item["command-line-flag"] = flag
    if action.choices:
        item["value-choices"] = list(action.choices)
    if action.nargs == "+":
        item |= {"list": True, "list-separator": " "}
    return item


def _type(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "Flag"
    return "File" if action.dest in FILES else "String"


def _output(name: str, path: str, *, optional: bool) -> dict[str, object]:
    template = f"[OUTPUT_DIR]/{path}"
    return {"id": name, "name": path, "path-template": template, "optional": optional}


def derived() -> dict[str, str]:
    """Return the text of each generated file."""
    recipe = (HERE / "Dockerfile").read_text(encoding="utf-8")
    return {
        "circuitshift.def": definition(recipe),
        "descriptor.json": json.dumps(descriptor(app_parser()), indent=2) + "\n",
    }


if __name__ == "__main__":
    for name, text in derived().items():
        (HERE / name).write_text(text, encoding="utf-8")
