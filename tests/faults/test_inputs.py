"""Fault matrix, inputs: what was broken, what the user saw, and that nothing was lost.

Each case breaks the first visit of one person, or a table of the study. The other visit is whole,
one sentence says what is wrong, and once the file is mended the same command ends with the bytes
of a study that was never disturbed.
"""

import errno
import gzip
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.simulate.data_set import (
    PlantedTruth,
    SimulationSpec,
    write_simulated_data_set,
)
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_OK, EXIT_PARTIAL


class InputProblem(NamedTuple):
    """What was broken, how, and what the user saw."""

    what: str
    breaks: object
    said: str
    code: int = EXIT_PARTIAL


def text(content):
    return lambda path: path.write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def edited(before, after):
    return lambda path: path.write_text(path.read_text().replace(before, after, 1))


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def link_to(target):
    def breaks(path):
        path.unlink()
        path.symlink_to(target)

    return breaks


def replaced(make):
    def breaks(path):
        path.unlink()
        make(path)

    return breaks


def sparse(path):
    with path.open("r+b") as file:
        file.truncate(300 * 2**20)


def first_line_twice(path):
    lines = path.read_text().splitlines()
    names = lines[0].split("\t")
    names[1] = names[0]
    path.write_text("\n".join(["\t".join(names), *lines[1:]]))


def many_columns(path):
    path.write_text("\t".join(f"x{k}" for k in range(200_000)) + "\n" + "1\t" * 200_000)


SERIES = [
    InputProblem(
        "series: cut within a line", cut(0.5), r"line \d+: \d+ numbers where the header has 30"
    ),
    InputProblem("series: empty file", text(b""), "empty", EXIT_PARTIAL),
    InputProblem("series: binary", text(bytes(range(256)) * 40), "not UTF-8 text"),
    InputProblem("series: a web page", text("<!DOCTYPE html><p>404"), "web page"),
    InputProblem(
        "series: never fetched", link_to("../.git/annex/objects/x"), "never fetched|leads nowhere"
    ),
    InputProblem(
        "series: a folder", replaced(Path.mkdir), "it is a folder, not a file; replace it"
    ),
    InputProblem("series: a pipe without a writer", replaced(os.mkfifo), "it is empty|not a file"),
    InputProblem("series: a column twice", first_line_twice, "occurs more than once"),
    InputProblem("series: a word among numbers", edited("0.", "zero "), "is not a number"),
    InputProblem("series: 300 MB of nothing", sparse, "more than the limit of 256 MB"),
    InputProblem("series: 200,000 columns", many_columns, "columns are not in atlas|numbers where"),
]

SIDECARS = [
    InputProblem("sidecar: not JSON", text("{"), "it is not JSON"),
    InputProblem("sidecar: a list", text("[1, 2]"), "it is not a JSON object"),
    InputProblem(
        "sidecar: 100,000 brackets", text("[" * 100_000), "its JSON content cannot be parsed"
    ),
    InputProblem(
        "sidecar: a number of 5000 digits",
        text('{"a": ' + "9" * 5000 + "}"),
        "its JSON content cannot",
    ),
    InputProblem(
        "sidecar: a time in words", text('{"RepetitionTime": "2 s"}'), "write it as a positive"
    ),
    InputProblem(
        "sidecar: no time", text('{"RepetitionTime": -1}'), "write it as a positive number"
    ),
]


def tried(bench, capsys, *more):
    """Run the first person; return exit status and all that was said."""
    capsys.readouterr()
    code = bench.run("participant", "--participant-label", "01", *more)
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said
    return code, said


def reasons(bench):
    rows = tables.read_table(bench.out / "sub-01/sub-01_runs.tsv").rows()
    return [row for row in rows if row["status"] == "failed"]


def mended(bench, undisturbed, capsys):
    shutil.rmtree(bench.data)
    shutil.copytree(undisturbed.data, bench.data)
    code, said = tried(bench, capsys)
    assert code == EXIT_OK, said
    assert bench.differs(person="01") == []


@pytest.mark.parametrize("problem", SERIES, ids=lambda problem: problem.what)
def test_series(bench, undisturbed, capsys, problem):
    problem.breaks(bench.series())
    code, said = tried(bench, capsys)
    assert code == problem.code, said
    assert re.search(problem.said, said), said
    other = "sub-01/ses-post/func/"
    whole = {k: v for k, v in bench.whole.items() if k.startswith(other)}
    assert whole
    assert not [k for k in bench.differs(person="01") if k in whole]
    assert len(reasons(bench)) == 1  # said in the table of runs, and so in page and exclusions
    page = (bench.out / "sub-01.html").read_text()
    assert "ses-pre" in page
    mended(bench, undisturbed, capsys)


@pytest.mark.parametrize("problem", SIDECARS, ids=lambda problem: problem.what)
def test_sidecars(bench, undisturbed, capsys, problem):
    problem.breaks(bench.series().with_suffix(".json"))
    code, said = tried(bench, capsys)
    assert code == problem.code, said
    assert re.search(problem.said, said), said
    assert len(reasons(bench)) == 1
    mended(bench, undisturbed, capsys)


def test_a_file_that_vanishes_after_it_was_indexed(bench, undisturbed, capsys, monkeypatch):
    found = bids.find_runs

    def and_gone(*args, **kwargs):
        out = found(*args, **kwargs)
        bench.series().unlink(missing_ok=True)
        return out

    monkeypatch.setattr(bids, "find_runs", and_gone)
    code, said = tried(bench, capsys)
    assert code == EXIT_PARTIAL
    assert "gone since the data set was indexed" in said
    monkeypatch.undo()
    mended(bench, undisturbed, capsys)


def test_a_disk_that_fails_while_reading(bench, undisturbed, capsys, monkeypatch):
    victim, reads = bench.series(session="post").name, Path.read_bytes

    def fails(self):
        if self.name == victim:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return reads(self)

    monkeypatch.setattr(Path, "read_bytes", fails)
    code, said = tried(bench, capsys)
    assert code == EXIT_PARTIAL
    assert "it cannot be read (Input/output error)" in said
    monkeypatch.undo()
    mended(bench, undisturbed, capsys)


PEOPLE = [
    InputProblem("participants: gone", Path.unlink, "has no participants.tsv", EXIT_OK),
    InputProblem(
        "participants: not UTF-8",
        text(b"participant_id\tgroup\nsub-01\t\xff\n"),
        "encoded as Windows-1252",
        EXIT_OK,
    ),
    InputProblem(
        "participants: a row too long",
        edited("sub-01\t", "sub-01\tx\ty\t"),
        "line 2 has 5 cells",
        EXIT_OK,
    ),
    InputProblem("participants: a web page", text("<html>404</html>"), "web page", EXIT_OK),
    InputProblem(
        "participants: a cell of 200,000 letters, in quotes",
        text('participant_id,group\nsub-01,"' + "x" * 200_000 + '"\n'),
        "quoted cells",
        EXIT_OK,
    ),
    InputProblem(
        "participants: rows of other participants only",
        text("participant_id\tgroup\nsub-99\ta\n"),
        "no row in",
        EXIT_OK,
    ),
    InputProblem(
        "participants: commands for the terminal",
        edited("active", "act\x1b[2Jive"),
        "",
        EXIT_OK,
    ),
]


@pytest.mark.parametrize("problem", PEOPLE, ids=lambda problem: problem.what)
def test_participants(done, capsys, problem):
    """A table of people costs what it says of them, and no measurement."""
    table = done.data / "participants.tsv"
    right = table.read_bytes()
    problem.breaks(table)
    code, said = tried(done, capsys)
    assert code == problem.code, said
    assert re.search(problem.said, said), said
    assert "\x1b" not in said
    assert done.differs(person="01") == []
    table.write_bytes(right)
    assert done.run("group") == EXIT_OK
    assert done.differs() == []


# ------------------------------------------------------------------------------------- images


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, empty_figures):  # noqa: ARG001 - a fixture takes no mark
    """Images of one person, two visits, and what comes of them undisturbed."""
    root = tmp_path_factory.mktemp("scanned")
    spec = SimulationSpec(n_treated=1, n_control=0, n_reference=0, n_volumes=70)
    rng = np.random.default_rng(2)
    write_simulated_data_set(root / "data", PlantedTruth("nothing"), spec=spec, rng=rng)
    words = [root / "data", root / "out", "participant", "-w", root / "work", "--nprocs", 1]
    words += ["--denoise", "24p+acompcor+gsr"]
    with pytest.raises(SystemExit) as ended:
        cli.main(list(map(str, words)))
    assert ended.value.code == EXIT_OK
    return root


def header_field(offset, raw):
    def breaks(path):
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[offset : offset + len(raw)] = raw
        path.write_bytes(gzip.compress(bytes(content), 1))

    return breaks


def bomb(path):
    """A header that claims 3 GB, before zeros that compress a thousand times."""
    content = bytearray(gzip.decompress(path.read_bytes())[:352])
    content[40:56] = np.array([3, 1500, 1500, 700, 1, 1, 1, 1], "<i2").tobytes()
    with gzip.open(path, "wb", 1) as file:
        file.write(content)
        for _ in range(3):
            file.write(b"\0" * 10_000_000)


BOLD, MASK, CONFOUNDS = "*_desc-preproc_bold.nii.gz", "*mask.nii.gz", "*confounds_timeseries.tsv"
NAN = np.full(12, np.nan, "<f4").tobytes()
IMAGES = [
    (
        BOLD,
        InputProblem(
            "image: a negative slope",
            header_field(112, np.float32(-1).tobytes()),
            r"negative scaling slope \(-1\)",
        ),
    ),
    (
        MASK,
        InputProblem(
            "mask: a negative slope",
            header_field(112, np.float32(-1).tobytes()),
            r"negative scaling slope \(-1\)",
        ),
    ),
    (BOLD, InputProblem("image: a pipe", replaced(os.mkfifo), "it is a pipe, socket or device")),
    (CONFOUNDS, InputProblem("confounds: a pipe", replaced(os.mkfifo), "it is a pipe")),
    (BOLD, InputProblem("image: stream cut", cut(0.6), "truncated|damaged")),
    (
        BOLD,
        InputProblem(
            "image: a byte of the stream flipped",
            lambda p: p.write_bytes(p.read_bytes()[:9000] + b"\xff\0\xff" + p.read_bytes()[9003:]),
            "damaged|truncated|more data",
        ),
    ),
    (BOLD, InputProblem("image: empty", text(b""), "empty")),
    (BOLD, InputProblem("image: a web page", text("<!DOCTYPE html>"), "web page")),
    (
        BOLD,
        InputProblem(
            "image: claims 30,000 volumes", header_field(48, b"\x30\x75"), "claims|ends in volume"
        ),
    ),
    (BOLD, InputProblem("image: claims fewer volumes", header_field(48, b"\x10\0"), "more data")),
    (
        BOLD,
        InputProblem(
            "image: its voxels lie nowhere", header_field(280, NAN), "position of the voxels"
        ),
    ),
    (
        BOLD,
        InputProblem(
            "image: complex numbers", header_field(70, b"\x20\0"), "one real number per voxel"
        ),
    ),
    (
        BOLD,
        InputProblem(
            "image: data begin 2 GB on",
            header_field(108, np.float32(2e9).tobytes()),
            "more than the file can contain",
        ),
    ),
    (
        MASK,
        InputProblem(
            "mask: a bomb of 3 GB a volume", bomb, "more than the limit of 512 MB per volume"
        ),
    ),
    (
        MASK,
        InputProblem(
            "mask: empty of voxels",
            lambda p: p.write_bytes(
                gzip.compress(
                    gzip.decompress(p.read_bytes())[:352]
                    + bytes(len(gzip.decompress(p.read_bytes())) - 352)
                )
            ),
            "mask is empty",
        ),
    ),
    (MASK, InputProblem("mask: gone", Path.unlink, "its brain mask .* is missing in its folder")),
    (CONFOUNDS, InputProblem("confounds: rows lost", cut(0.5), "rows|cells")),
    (
        CONFOUNDS,
        InputProblem(
            "confounds: columns lost",
            lambda p: p.write_text(p.read_text().replace("comp_cor_", "x_")),
            "comp_cor",
        ),
    ),
    (CONFOUNDS, InputProblem("confounds: gone", Path.unlink, "confounds")),
]


@pytest.mark.parametrize(("name", "problem"), IMAGES, ids=[problem.what for _, problem in IMAGES])
def test_images(scanned, tmp_path, capsys, content_of, name, problem):
    """The other visit stays; a mended file brings back the bytes."""
    shutil.copytree(scanned / "data", tmp_path / "data")
    shutil.copytree(scanned / "out", tmp_path / "out")
    words = [tmp_path / "data", tmp_path / "out", "participant", "-w", tmp_path / "work"]
    words += ["--nprocs", 1, "--denoise", "24p+acompcor+gsr"]

    def go():
        with pytest.raises(SystemExit) as ended:
            cli.main(list(map(str, words)))
        return ended.value.code, "".join(capsys.readouterr())

    folder = next((tmp_path / "data").glob("derivatives/fmriprep/sub-*/ses-pre/func"))
    victim = next(folder.glob(name))
    problem.breaks(victim)
    code, said = go()
    assert "Traceback" not in said
    assert re.search(problem.said, said), said
    assert code == problem.code, said
    page = next((tmp_path / "out").glob("sub-*.html")).read_text()
    assert "ses-post" in page
    victim.unlink(missing_ok=True)  # to write into a pipe would wait for a reader
    shutil.copy2(scanned / victim.relative_to(tmp_path), victim, follow_symlinks=False)
    code, said = go()
    assert code == EXIT_OK, said
    for path in sorted((scanned / "out").rglob("*")):
        if path.is_file() and "logs" not in path.parts and path.name != "dataset_description.json":
            same = tmp_path / path.relative_to(scanned)
            assert content_of(same) == content_of(path), path.name
