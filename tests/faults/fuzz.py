"""Read thousands of malformed files, each of which must give a value or an error message.

Run it as ``python tests/faults/fuzz.py --cases 10000``. Each case starts from a valid file and
changes bytes, lines, cells, brackets, numbers, fields of a header or the gzip stream. A reader may
return a value or raise a `CircuitshiftError` with a message. A case fails if another exception is
raised or if reading takes more than `LIMIT_S`; the run fails if memory exceeds `LIMIT_GIB`.
"""

import argparse
import contextlib
import gzip
import json
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from circuitshift.atlases.errors import CircuitshiftError
from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.participants import read_participants
from circuitshift.pipeline.io import nifti, tables
from circuitshift.pipeline.io.number_tables import read_number_matrix, read_number_series
from circuitshift.pipeline.measure import denoise, extract
from circuitshift.pipeline.measure.given.matrix_values import to_correlations
from circuitshift.pipeline.records import Run
from circuitshift.pipeline.study.study_file import read_study_file

LIMIT_S = 10.0
LIMIT_GIB = 1.0
GRID = (6, 7, 5)
N_VOLUMES = 12

Rng = np.random.Generator

# ------------------------------------------------------------------------------ damage

_TOKENS = (
    *(b"\t", b"\n", b"\r", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff", b"\xc3", b'"', b"'", b"\\"),
    *(b",", b";", b"{", b"}", b"[", b"]", b":", b"=", b"#", b"<html>", b"<!DOCTYPE html>"),
    *(b"n/a", b"NaN", b"inf", b"-inf", b"1e999", b"-1e999", b"1e-999", b"0x10", b"1_0", b"-"),
    *(b"null", b"true", b"\xe2\x80\xae", b"\x1b[2J", b"../../etc/passwd", b"sub-01", b"ses-pre"),
    *(b"9" * 5000, b"[" * 100_000, b'{"a":' * 20_000, b"\t" * 3000, b"x" * 200_000, b"-0"),
    *("Ünïcödé 日本".encode(), b"/annex/objects/SHA", b"$(touch x)", b"`id`", b"%s%n", b"{{7*7}}"),
)


def broken_bytes(raw: bytes, rng: Rng) -> bytes:
    """Flip, delete, repeat and insert bytes."""
    out = bytearray(raw)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, len(out) + 1))
        kind = int(rng.integers(0, 6))
        if kind == 0 and at < len(out):
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del out[at : at + int(rng.integers(1, 200))]
        elif kind == 2:
            out[at:at] = _TOKENS[int(rng.integers(len(_TOKENS)))]
        elif kind == 3:
            out[at:at] = out[at : at + int(rng.integers(1, 400))] * int(rng.integers(1, 4))
        elif kind == 4:
            del out[at:]
        else:
            out[at : at + 8] = rng.bytes(8)
    return bytes(out)


def broken_table(raw: bytes, rng: Rng) -> bytes:  # noqa: C901 - one branch per kind of damage
    """Change cells, rows and columns, and sometimes bytes."""
    rows = [line.split(b"\t") for line in raw.rstrip(b"\n").split(b"\n")]
    for _ in range(int(rng.integers(1, 5))):
        r = int(rng.integers(len(rows)))
        c = int(rng.integers(len(rows[r]))) if rows[r] else 0
        token = _TOKENS[int(rng.integers(len(_TOKENS)))]
        kind = int(rng.integers(0, 8))
        if kind == 0 and rows[r]:
            rows[r][c] = token
        elif kind == 1:
            rows.insert(r, list(rows[int(rng.integers(len(rows)))]))
        elif kind == 2 and len(rows) > 1:
            del rows[r]
        elif kind == 3 and rows[r]:
            del rows[r][c]
        elif kind == 4:
            rows[r].append(token)
        elif kind == 5:
            rows[0] = [*rows[0], rows[0][0]] if rows[0] else [token]
        elif kind == 6:
            rows = [list(row) for row in zip(*rows, strict=False)] or [[token]]
        else:
            for row in rows:
                if c < len(row):
                    row[c] = token
    raw = b"\n".join(b"\t".join(row) for row in rows) + b"\n"
    return broken_bytes(raw, rng) if rng.random() < 0.2 else raw


def broken_json(raw: bytes, rng: Rng) -> bytes:
    """Insert values of other types, and sometimes change bytes."""
    content = json.loads(raw)
    values: tuple[object, ...] = (
        None,
        True,
        -1,
        0,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "x" * 10_000,
        [],
        {},
        [[]],
    )
    for _ in range(int(rng.integers(1, 4))):
        key = list(content)[int(rng.integers(len(content)))]
        content[key] = values[int(rng.integers(len(values)))]
        if rng.random() < 0.2:
            content = {"a": content}
    raw = json.dumps(content).encode()
    return broken_bytes(raw, rng) if rng.random() < 0.5 else raw


_FIELDS = {  # name: (offset, format, number of values) in a NIfTI-1 header
    "sizeof_hdr": (0, "i", 1),
    "dim": (40, "h", 8),
    "datatype": (70, "h", 1),
    "bitpix": (72, "h", 1),
    "pixdim": (76, "f", 8),
    "vox_offset": (108, "f", 1),
    "slope": (112, "f", 1),
    "inter": (116, "f", 1),
    "units": (123, "B", 1),
    "qform": (252, "h", 1),
    "sform": (254, "h", 1),
    "quatern": (256, "f", 3),
    "qoffset": (268, "f", 3),
    "srow": (280, "f", 12),
    "magic": (344, "B", 4),
}
_NUMBERS = (0, 1, -1, 2, 3, 7, 127, 255, 32767, -32768, 1e38, -1e38, 1e-40, np.nan, np.inf, 352.0)


def broken_image(raw: bytes, rng: Rng) -> bytes:
    """Change fields of the header, or damage the gzip stream."""
    out = bytearray(raw)
    order = "<>"[int(rng.random() < 0.1)]
    for _ in range(int(rng.integers(1, 5))):
        offset, form, n = _FIELDS[list(_FIELDS)[int(rng.integers(len(_FIELDS)))]]
        at = offset + struct.calcsize(form) * int(rng.integers(n))
        value = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
        with contextlib.suppress(struct.error, ValueError, OverflowError):
            struct.pack_into(order + form, out, at, value if form == "f" else int(value))
    raw = bytes(out) if rng.random() < 0.9 else broken_bytes(raw, rng)
    if rng.random() < 0.5:
        raw = gzip.compress(raw, 1)
        raw = broken_bytes(raw, rng) if rng.random() < 0.3 else raw
    return raw


# ------------------------------------------------------------------------------- valid files


def valid_image(n_volumes: int = N_VOLUMES, *, mask: bool = False) -> bytes:
    """Return the bytes of a small NIfTI-1 image."""
    rng = np.random.default_rng(7)
    header = bytearray(348)
    shape = (*GRID, n_volumes)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 4, *shape, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 20, 20, 20, 2.5, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[123] = 10
    struct.pack_into("<hh", header, 252, 0, 4)
    struct.pack_into("<12f", header, 280, 20, 0, 0, -60, 0, 20, 0, -80, 0, 0, 20, -50)
    header[344:348] = b"n+1\0"
    size = int(np.prod(shape))
    data = np.ones(size, "<i2") if mask else rng.integers(500, 900, size).astype("<i2")
    return bytes(header) + b"\0\0\0\0" + data.tobytes()


def _table(columns: list[str], n_rows: int, seed: int = 3) -> bytes:
    rng = np.random.default_rng(seed)
    lines = ["\t".join(columns)]
    lines += ["\t".join(f"{v:.5f}" for v in rng.normal(size=len(columns))) for _ in range(n_rows)]
    return ("\n".join(lines) + "\n").encode()


def _matrix(n: int = 9) -> bytes:
    r = np.corrcoef(np.random.default_rng(5).normal(size=(n, 40)))
    names = [f"R{k}" for k in range(n)]
    lines = ["\t".join(["Node", *names])]
    lines += ["\t".join([names[k], *(f"{v:.6f}" for v in r[k])]) for k in range(n)]
    return ("\n".join(lines) + "\n").encode()


_CONFOUNDS = [
    *(f"{kind}_{axis}{more}" for kind in ("trans", "rot") for axis in "xyz"
      for more in ("", "_derivative1", "_power2", "_derivative1_power2")),
    *(f"a_comp_cor_{k:02d}" for k in range(8)),
    *(f"cosine{k:02d}" for k in range(3)),
    *("global_signal", "csf", "white_matter", "framewise_displacement", "std_dvars"),
]  # fmt: skip
_PARTICIPANTS = (
    b"participant_id\tgroup\tage\tsex\tBDI_ses-pre\tBDI_ses-post\n"
    b"sub-01\ttreated\t30\tF\t20\t10\nsub-02\ttreated\t41\tM\t22\tn/a\nsub-03\tcontrol\tn/a\tF\t9\t8\n"
)
_SIDECAR = json.dumps({"RepetitionTime": 2.5, "TaskName": "rest", "SliceTiming": [0, 1.2]}).encode()
_STUDY = (
    b'[sessions]\nbaseline = "pre"\nfollowup = "post"\n[groups]\ncolumn = "group"\n'
    b'treated = ["a"]\ncontrol = ["b"]\n[model]\ncovariates = ["age"]\n[hypotheses]\n'
    b'circuits = ["dmn"]\ndirections = {dmn = "decrease"}\nsesoi_z = 0.1\n'
    b"[tests]\nn_permutations = 50\nseed = 3\nalpha = 0.05\n"
)
_FILTERS = json.dumps({"bold": {"session": "pre", "task": ["rest"], "run": [1, 2]}}).encode()
_ATLAS = b"index\tlabel\tnetwork\themisphere\tx\ty\tz\n" + b"".join(
    f"{k}\tR{k}\tDefault\tL\t{k}\t{-k}\t{k}\n".encode() for k in range(1, 9)
)
_ROOT = Path(__file__).resolve().parents[2]

# ----------------------------------------------------------------------------------- readers


def _run_of(folder: Path, input_type: str, path: Path) -> Run:
    mask = folder / "mask.nii"
    if not mask.exists():
        mask.write_bytes(valid_image(1, mask=True))
    entities = (("sub", "01"), ("task", "rest"))
    confounds = folder / "confounds.tsv"
    return Run("01", "", "rest", "", "MNI152NLin6Asym", "x", input_type, path, entities, mask=mask,
               confounds=confounds)  # fmt: skip


def _read_table(path: Path) -> None:
    table = tables.read_table(path)
    list(table.rows())
    for name in table.columns:
        with contextlib.suppress(CircuitshiftError):
            table.numbers(name)


def _read_series(path: Path) -> None:
    series = tables.read_series(path)[1]
    connectivity.correlation(series)


def _read_matrix(path: Path) -> None:
    connectivity.fisher_z(connectivity.from_matrix(tables.read_matrix(path)[1]))


def _read_given_series(path: Path) -> None:
    connectivity.correlation(read_number_series(path).values)


def _read_given_matrix(path: Path) -> None:
    to_correlations(path, read_number_matrix(path).values)


def _read_participants(path: Path) -> None:
    found = read_participants(path.parent)
    for score in found.visits:
        with contextlib.suppress(CircuitshiftError):
            found.scores(score)


def _read_confounds(path: Path) -> None:
    available = denoise.load_strategies()
    for name in ("24p+acompcor", "36p"):
        with contextlib.suppress(CircuitshiftError):
            strategy = denoise.get_strategy(name, available)
            found = denoise.load_regressors(path, strategy, n_volumes=60, dummy_scans=None)
            series = np.random.default_rng(1).normal(size=(60, 4))
            denoise.clean(series, found, strategy, 2.5)


def _read_sidecar(path: Path) -> None:
    bold = path.parent / "sub-01_task-rest_bold.nii"
    if not bold.exists():
        bold.write_bytes(valid_image())
    bids.check_run(_run_of(path.parent, "bold", bold))


def _read_image(path: Path) -> None:
    nifti.read_header(path)
    header = nifti.read_header(path)
    mask = np.ones(header.grid, bool)
    atlas = load_atlas("seitzman300")
    with contextlib.suppress(CircuitshiftError):
        nifti.read_image(path)
    found = extract.extract(path, [extract.parcellate(atlas, header.affine, header.grid, mask)])
    connectivity.correlation(found.series[0])


def _read_mask(path: Path) -> None:
    extract.read_mask(path)


def _read_atlas(path: Path) -> None:
    atlas = load_atlas(path)
    atlas.centres_mm()
    with contextlib.suppress(CircuitshiftError):
        extract.parcellate(atlas, np.diag([20.0, 20, 20, 1]), GRID, np.ones(GRID, bool))


def _read_atlas_image(path: Path) -> None:
    (path.parent / "atlas.tsv").write_bytes(_ATLAS)
    _read_atlas(path)


def _read_circuits(path: Path) -> None:
    load_circuits(load_atlas("seitzman300"), files=(path,))


def _label_image() -> bytes:
    raw = bytearray(valid_image(1))
    size = int(np.prod(GRID))
    raw[352 : 352 + 2 * size] = (np.arange(size) % 9).astype("<i2").tobytes()
    return bytes(raw)


Case = tuple[str, bytes, Callable[[bytes, Rng], bytes], Callable[[Path], object]]

CASES: tuple[Case, ...] = (
    ("table.tsv", _PARTICIPANTS, broken_table, _read_table),
    ("series.tsv", _table([f"R{k}" for k in range(8)], 30), broken_table, _read_series),
    ("relmat.tsv", _matrix(), broken_table, _read_matrix),
    ("given.tsv", _table([f"R{k}" for k in range(8)], 30), broken_table, _read_given_series),
    ("given.csv", _table([f"R{k}" for k in range(8)], 30), broken_bytes, _read_given_series),
    ("given.tsv.gz", gzip.compress(_table(["A", "B"], 30)), broken_bytes, _read_given_series),
    ("given_relmat.tsv", _matrix(), broken_table, _read_given_matrix),
    ("participants.tsv", _PARTICIPANTS, broken_table, _read_participants),
    ("participants.tsv", _PARTICIPANTS.replace(b"\t", b","), broken_bytes, _read_participants),
    ("confounds.tsv", _table(_CONFOUNDS, 60), broken_table, _read_confounds),
    ("any.json", _SIDECAR, broken_json, tables.read_json),
    ("sub-01_task-rest_bold.json", _SIDECAR, broken_json, _read_sidecar),
    ("filters.json", _FILTERS, broken_json, bids.load_filters),
    ("bold.nii.gz", valid_image(), broken_image, _read_image),
    ("bold.nii", valid_image(), broken_image, _read_image),
    ("mask.nii.gz", valid_image(1, mask=True), broken_image, _read_mask),
    ("atlas.nii.gz", _label_image(), broken_image, _read_atlas_image),
    ("atlas.tsv", _ATLAS, broken_table, _read_atlas),
    ("study.toml", _STUDY, broken_bytes, read_study_file),
    ("dmn.toml", (_ROOT / "atlases/circuits/dmn.toml").read_bytes(), broken_bytes, _read_circuits),
    ("s.toml", (_ROOT / "pipeline/measure/strategies.toml").read_bytes(), broken_bytes,
     lambda path: denoise.load_strategies((path,))),
)  # fmt: skip


# ----------------------------------------------------------------------------------- driver


@contextlib.contextmanager
def _in_time(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"reading took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(number: int, folder: Path) -> tuple[str, str]:
    """Run one case; return the name of the file, and read, refused or a traceback."""
    name, valid, damage, read = CASES[number % len(CASES)]
    rng = np.random.default_rng(number)
    path = folder / name
    path.write_bytes(damage(valid, rng))
    try:
        with _in_time(LIMIT_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except CircuitshiftError as error:
        return name, "refused" if str(error).strip() else "an error without a message"
    except BaseException:
        copy = Path(tempfile.gettempdir()) / f"fuzz-{number}-{name}"
        copy.write_bytes(path.read_bytes())
        return name, f"case {number} ({copy}):\n{traceback.format_exc()}"
    return name, "read"


def fuzz(cases: range) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Run cases; return the numbers of read and refused files of each kind, and the failures."""
    counts: Counter[tuple[str, str]] = Counter()
    failed = []
    with tempfile.TemporaryDirectory() as name:
        for number in cases:
            for previous in Path(name).iterdir():
                previous.unlink()
            file, outcome = attempt(number, Path(name))
            if outcome in ("read", "refused"):
                counts[file, outcome] += 1
            else:
                failed.append(outcome)
    return counts, failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--show", type=int, default=5)
    options = parser.parse_args()
    start = time.monotonic()
    counts, failures = fuzz(range(options.first, options.first + options.cases))
    for (file, outcome), number in sorted(counts.items()):
        print(f"{file:32s} {outcome:8s} {number}")
    print("\n".join(failures[: options.show]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.monotonic() - start
    print(f"{options.cases} cases, {len(failures)} failed, {seconds:.0f} s, at most {peak:.2f} GiB")
    sys.exit(bool(failures) or peak > LIMIT_GIB)
