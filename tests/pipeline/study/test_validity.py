"""Changes of inputs, code and tables that invalidate the results of the group level."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study import validity
from circuitshift.pipeline.study.members import DataSet
from circuitshift.pipeline.study.ratings import Rating
from circuitshift.pipeline.study.study_file import StudyFile
from circuitshift.pipeline.study.validity import (
    group_files,
    is_current,
    origins_of,
    results_hash,
)


class Study:
    """Output folder of the participant level with two participants."""

    def __init__(self, root):
        self.root, self.out, self.data = root, root / "out", root / "data"
        self.stated = StudyFile(None, (("baseline", "pre"),))
        self.settings = AnalysisSettings(circuits=(str(root / "mine.toml"),))
        self.ratings = ()

    def origins(self):
        return origins_of(
            [DataSet(self.out, self.data)],
            self.stated,
            self.settings,
            ratings=self.ratings,
            out_dir=self.out,
            digests=Digests("group", self.out),
        )


@pytest.fixture
def study(tmp_path):
    study = Study(tmp_path)
    tables.write_text(
        study.data / "participants.tsv", "participant_id\tage\nsub-01\t3\nsub-02\t4\n"
    )
    (tmp_path / "mine.toml").write_text("name = 'mine'\n")
    for label in ("01", "02"):
        name = f"sub-{label}/sub-{label}_relmat.tsv"
        tables.write_matrix(study.out / name, ("a", "b"), np.eye(2), sidecar={"CodeHash": "x"})
        columns = {"run": ["r", "failed"], "relmat": [name, None]}
        tables.write_table(study.out / f"sub-{label}/sub-{label}_runs.tsv", columns)
    tables.write_text(study.out / "sourcedata/atlases/atlas-A_dseg.tsv", "index\tlabel\n1\ta\n")
    return study


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit_settings(study):
    study.settings = replace(study.settings, min_minutes=4.0)


def edit_study_file(study):
    study.stated = StudyFile(None, (("baseline", "post"),))


def rate(study):
    study.ratings = (Rating("01", "", "exclude"),)


def freeze(study):
    tables.write_json(study.out / "group/plan.json", {"hash": "x"})


@pytest.mark.parametrize(
    ("change", "origin"),
    [
        (lambda s: edit(s.out / "sub-01/sub-01_relmat.tsv", "1", "2"), "results"),
        (lambda s: edit(s.out / "sub-01/sub-01_relmat.json", "x", "y"), "results"),
        (lambda s: edit(s.out / "sub-02/sub-02_runs.tsv", "failed", "lost"), "results"),
        (lambda s: shutil.rmtree(s.out / "sub-02"), "results"),
        (lambda s: edit(s.out / "sourcedata/atlases/atlas-A_dseg.tsv", "a\n", "b\n"), "results"),
        (lambda s: (s.out / "sub-01/sub-01_relmat.tsv").unlink(), "results"),
        (lambda s: edit(s.data / "participants.tsv", "3", "5"), "participants"),
        (lambda s: tables.write_text(s.data / "phenotype/x.tsv", PHENOTYPE), "participants"),
        (lambda s: edit(s.root / "mine.toml", "mine", "other"), "files"),
        (edit_settings, "settings"),
        (edit_study_file, "study file"),
        (rate, "ratings"),
        (freeze, "plan"),
    ],
)
def test_a_change_alters_the_hash_of_its_input_only(study, change, origin):
    before = study.origins()
    change(study)
    after = study.origins()
    assert [name for name in before if before[name] != after[name]] == [origin]


PHENOTYPE = "participant_id\tsession_id\tscore\nsub-01\tses-pre\t7\n"


def test_dates_and_folders_do_not_change_hashes(study, tmp_path):
    before = study.origins()
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    assert study.origins() == before
    (tmp_path / "elsewhere").mkdir()
    for name in ("out", "data", "mine.toml"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    assert Study(tmp_path / "elsewhere").origins() == before


def test_other_measuring_code_changes_its_hash(study, monkeypatch):
    """The notes of the verdict name participants who were measured by other code."""
    before = study.origins()
    monkeypatch.setattr(validity, "installed_code", lambda: {"measuring": "other"})
    after = study.origins()
    assert [name for name in before if before[name] != after[name]] == ["measuring code"]


def test_the_hash_of_results_depends_on_the_name_of_the_data_set(study):
    digests = Digests("group", study.out)
    one = results_hash([DataSet(study.out, study.data)], digests)
    other = results_hash([DataSet(study.out, study.data, "healthy")], digests)
    assert one != other


def test_a_verdict_is_current_with_the_tables_that_were_written_with_it(study):
    folder = study.out / "group"
    made_from = study.origins()

    def is_valid(code="code"):
        return is_current(folder, made_from, code, Digests("group", study.out))

    assert not is_valid()
    tables.write_table(folder / "tests.tsv", {"p": [0.5]}, sidecar={"p": {"Description": "p"}})
    files = group_files(folder, Digests("group", study.out))
    assert sorted(files) == ["tests.json", "tests.tsv"]
    verdict = {"made_from": made_from, "code_hash": "code", "files": files}
    tables.write_json(folder / "verdict.json", verdict)
    tables.write_text(folder / "report.html", "<p></p>")  # written later, from the verdict
    assert is_valid()
    assert not is_valid("other code")
    assert not is_current(folder, made_from | {"plan": "x"}, "code", Digests("group", study.out))
    edit(folder / "tests.tsv", "0.5", "0.4")
    assert not is_valid()
    edit(folder / "tests.tsv", "0.4", "0.5")
    assert is_valid()
    (folder / "tests.json").unlink()
    assert not is_valid()
    tables.write_json(folder / "tests.json", {"p": {"Description": "p"}})
    assert is_valid()
    (folder / "verdict.json").write_text("{")
    assert not is_valid()
