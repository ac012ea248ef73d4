"""Checks before participants are measured: folders, permissions and the BIDS validator."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.errors import AtlasError, CircuitshiftError, InputError
from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli import preflight
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK
from circuitshift.workflows.cli.request import app_request
from circuitshift.workflows.plan import InputFolder


@pytest.fixture
def request_of(tmp_path):
    """Return a request whose folders exist, with some of its fields replaced."""
    for name in ("in", "other"):
        (tmp_path / name).mkdir()

    def make(**fields):
        words = [str(tmp_path / "in"), str(tmp_path / "out"), "participant"]
        return replace(app_request(words), **fields)

    return make


def test_existing_folders_are_accepted_and_nothing_is_written(tmp_path, request_of):
    folders = (InputFolder(tmp_path / "in", tmp_path / "in"),
               InputFolder(tmp_path / "other", tmp_path / "other", "healthy"))  # fmt: skip
    preflight.check_folders(request_of(folders=folders, ratings=tmp_path / "other"))
    assert not (tmp_path / "out").exists()


def test_missing_folders_and_unsuitable_names_are_refused(tmp_path, request_of):
    for files in (tmp_path / "missing", tmp_path / "in" / "missing"):
        with pytest.raises(InputError, match=f"{files}: there is no such folder"):
            preflight.check_folders(request_of(folders=(InputFolder(tmp_path / "in", files),)))
    with pytest.raises(InputError, match=r"--ratings .*missing: there is no such folder"):
        preflight.check_folders(request_of(ratings=tmp_path / "missing"))
    named = (InputFolder(tmp_path / "other", tmp_path / "other", "a-b"),)
    with pytest.raises(InputError, match="use only letters and digits"):
        preflight.check_folders(request_of(folders=named))


def test_the_output_folder_is_not_the_input_folder_under_another_path(tmp_path, request_of):
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for folder in (tmp_path / "in", tmp_path / "in" / ".." / "in", tmp_path / "link"):
        with pytest.raises(InputError, match="OUTPUT_DIR must not be BIDS_DIR"):
            preflight.check_folders(request_of(output_dir=folder))
    preflight.check_folders(request_of(output_dir=tmp_path / "in" / "derivatives"))


def test_a_writable_folder_is_created_and_left_empty(tmp_path):
    preflight.check_writable("OUTPUT_DIR", tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"--work-dir: cannot write into .*file/x .Not a directory"
    ):
        preflight.check_writable("--work-dir", tmp_path / "file" / "x")


@pytest.fixture
def validated(tmp_path, monkeypatch):
    """Run the check with a validator that prints a text; return its calls and the notes."""
    notes = []
    monkeypatch.setattr(preflight, "notify", notes.append)
    program = tmp_path / "bin" / "bids-validator-deno"
    program.parent.mkdir()
    (tmp_path / "sub-01").mkdir()
    monkeypatch.setenv("PATH", str(program.parent))

    def run(answer, **description):
        calls = tmp_path / "calls"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nopen({str(calls)!r}, 'a').write(repr(sys.argv[1:]))\n"
            f"print({answer!r})\n"
        )
        program.chmod(0o755)
        if description:
            (tmp_path / "dataset_description.json").write_text(json.dumps(description))
        preflight.validate_input(tmp_path)
        return calls.read_text() if calls.exists() else "", notes

    return run


def test_errors_of_the_validator_are_reported_as_a_warning(tmp_path, validated):
    issues = [{"code": "B", "severity": "error"}, {"code": "A", "severity": "error"},
              {"code": "C", "severity": "warning"}]  # fmt: skip
    calls, notes = validated(json.dumps({"issues": {"issues": issues}}), Name="x")
    assert str(tmp_path) in calls
    assert len(notes) == 1
    assert "is not valid BIDS (A, B)" in notes[0]


def test_valid_data_give_no_note(validated):
    calls, notes = validated(json.dumps({"issues": {"issues": []}}), Name="x", DatasetType="raw")
    assert calls
    assert notes == []


@pytest.mark.parametrize("answer", ["", "no JSON", "[]", '{"issues": {}}'])
def test_output_that_cannot_be_read_is_ignored(validated, answer):
    _, notes = validated(answer, Name="x")
    assert notes == ["warning: the output of bids-validator-deno cannot be read and is ignored"]


def test_derivatives_and_folders_without_a_description_are_not_validated(validated):
    assert validated("x") == ("", [])
    assert validated("x", Name="x", DatasetType="derivative") == ("", [])


def test_data_sets_of_which_only_derivatives_are_at_hand_are_not_validated(tmp_path, validated):
    (tmp_path / "sub-01").rmdir()
    assert validated("x", Name="x") == ("", [])


# --- study files and circuits are read before anything is measured

CIRCUIT = """
name = "mine"
title = "A circuit"
direction = "two-sided"
why = "Test."
reference = "Test."
[[seeds]]
regions = ["Region_1", "Region_2"]
"""


@pytest.mark.parametrize(
    ("circuits", "study", "message"),
    [
        ("name = ", "", "not valid TOML"),
        (CIRCUIT.replace("seeds", "seed"), "", "seed"),
        (CIRCUIT + '[[targets]]\nsame_as = "dnm.seeds"\n', "", "not a side of an available"),
        (CIRCUIT + '[[targets]]\nsame_as = "mine.targets"\n', "", "refers to itself"),
        (CIRCUIT, "[tests", "TOML"),
        (CIRCUIT, "[tests]\nn_permutation = 5\n", "n_permutation"),
        (CIRCUIT, '[hypotheses]\ncircuits = ["mien"]\n', "unknown circuit 'mien'; did you mean"),
        (CIRCUIT, '[hypotheses]\ndirections = {dnm = "increase"}\n', "unknown circuit 'dnm'"),
        (
            CIRCUIT,
            '[hypotheses]\nprimary = ["mien", "xyzw"]\ndirections = {dnm = "increase"}\n',
            r"unknown circuits 'mien' \(did you mean mine .*\?\), 'xyzw', "
            r"'dnm' \(did you mean dmn\?\) \(available: dlpfc_amygdala, ",
        ),
    ],
)
def test_broken_circuits_and_study_files_stop(tmp_path, request_of, circuits, study, message):
    (tmp_path / "mine.toml").write_text(circuits)
    (tmp_path / "study.toml").write_text(study or "[tests]\n")
    request = request_of(
        study_file=tmp_path / "study.toml",
        given=(("circuits", (str(tmp_path / "mine.toml"),)),),
    )
    with pytest.raises(CircuitshiftError, match=message):
        preflight.check_definitions(request)


def test_valid_circuits_and_study_files_are_accepted(tmp_path, request_of):
    (tmp_path / "mine.toml").write_text(CIRCUIT)
    (tmp_path / "study.toml").write_text('[hypotheses]\ncircuits = ["mine", "dmn"]\n')
    request = request_of(
        study_file=tmp_path / "study.toml",
        given=(("circuits", (str(tmp_path / "mine.toml"),)),),
    )
    assert dict(preflight.check_definitions(request).stated)["circuits"]
    assert preflight.check_definitions(request_of()).stated == ()


def write_series(root, labels, network=()):
    """Write two participants with two sessions each, and a table of networks if there are any."""
    rng = np.random.default_rng(0)
    for label in ("01", "02"):
        for session in ("pre", "post"):
            path = root / f"sub-{label}/ses-{session}/func"
            path /= f"sub-{label}_ses-{session}_task-rest_atlas-mine_timeseries.tsv"
            values = rng.standard_normal((100, len(labels)))
            tables.write_series(path, labels, values, sidecar={"RepetitionTime": 2.0})
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    if network:
        rows = [f"{k}\t{a}\t{b}" for k, (a, b) in enumerate(zip(labels, network, strict=True), 1)]
        table = "\n".join(["index\tlabel\tnetwork", *rows]) + "\n"
        (root / "atlas-mine_dseg.tsv").write_text(table)
    return root


def run(capsys, data, out, *words):
    words = [data, out, *words, "-w", out.with_name("work")]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    shown = capsys.readouterr()
    return ended.value.code, shown.out + shown.err


UNNAMED = [f"Region{k}" for k in range(12)]
STUDY = '[sessions]\nbaseline = "pre"\nfollowup = "post"\n'


def test_regions_without_a_circuit_stop_before_participants_are_measured(tmp_path, capsys):
    data = write_series(tmp_path / "data", UNNAMED)
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    for level in (("participant",), ("group",), ("participant", "--dry-run")):
        code, text = run(capsys, data, tmp_path / "out", *level, "--study", study)
        assert code == EXIT_FAILED
        assert "none of the 14 circuits can be located on atlas mine" in text
        assert "(the same applies to 13 more)" in text
        assert "add a column network" in text
        assert not list((tmp_path / "out").glob("sub-*"))


def test_without_a_study_file_regions_without_a_circuit_are_measured_with_a_warning(
    tmp_path, capsys
):
    data = write_series(tmp_path / "data", UNNAMED)
    code, text = run(capsys, data, tmp_path / "out", "participant", "--nprocs", 1)
    assert code == EXIT_OK
    assert "warning: none of the 14 circuits can be located on atlas mine" in text
    assert len(list((tmp_path / "out").rglob("*_relmat.tsv"))) == 4


def test_a_dry_run_describes_series_as_given_and_counts_circuits(tmp_path, capsys):
    networks = ["Default"] * 6 + ["FrontoParietal"] * 6
    data = write_series(tmp_path / "data", UNNAMED, networks)
    code, text = run(capsys, data, tmp_path / "out", "group", "--dry-run")
    assert code == EXIT_OK
    assert "strategies: as given (no denoising); atlases: mine\n" in text
    assert "circuits located on atlas mine: 3 of 14 (dmn, dmn_tpn, tpn)" in text
    assert "corrected for 3 primary circuits" in text
    assert "_relmat.tsv" in text
    assert "_motion.tsv" not in text
    assert not (tmp_path / "out").exists()


def test_an_atlas_that_cannot_be_loaded_is_stated_in_a_dry_run(tmp_path, capsys, monkeypatch):
    def broken(*_):
        raise AtlasError("no network")

    monkeypatch.setattr(preflight, "find_atlases", broken)
    data = write_series(tmp_path / "data", UNNAMED)
    code, text = run(capsys, data, tmp_path / "out", "participant", "--dry-run")
    assert code == EXIT_OK
    assert "atlas: it cannot be loaded: no network" in text


def test_structure_without_raw_images_is_refused_before_measuring(tmp_path, capsys):
    data = write_series(tmp_path / "data", UNNAMED)
    for words in (("--dry-run",), ()):
        code, text = run(
            capsys, data, tmp_path / "out", "participant", "--structure", "volumes", *words
        )
        assert code == EXIT_FAILED
        assert "--structure measures raw T1-weighted images" in text
        assert not list((tmp_path / "out").glob("sub-*"))
