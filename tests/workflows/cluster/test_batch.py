"""Commands, resources and folders of the jobs that are requested for a study."""

import numpy as np
import pytest

from circuitshift.pipeline.bids.raw_records import RawAnat, RawParticipant
from circuitshift.pipeline.io import images
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.records import AnalysisSettings, Run
from circuitshift.pipeline.study.group_level import DataSet
from circuitshift.workflows.cluster.batch import Flag, JobRequest, _size, make_batch
from circuitshift.workflows.plan import ParticipantPlan, StudyPlan

FLAGS = (
    Flag("participant_label", ("--participant-label", "01")),
    Flag("session_label", ("--session-label", "pre")),
    Flag("derivatives", ("--derivatives=prep=/d",)),
    Flag("reference_dataset", ("--reference-dataset=b=/b",)),
    Flag("atlas", ("--atlas", "x", "y")),
    Flag("study", ("--study=/s.toml",)),
    Flag("mem_gb", ("--mem-gb=8.0",)),
    Flag("group_mem_gb", ("--group-mem-gb=1",)),
    Flag("nprocs", ("--nprocs=3",)),
    Flag("submit", ("--submit",)),
    Flag("notrack", ("--notrack",)),
)


@pytest.fixture
def plan(tmp_path):
    """Plan two data sets of one participant with one small matrix."""
    path = tmp_path / "in" / "x_relmat.tsv"
    path.parent.mkdir()
    path.write_text("A\tB\n1\t0.5\n0.5\t1\n")
    participants = []
    for name in ("", "b"):
        run = Run("01", "pre", "rest", "", "", "", "relmat", path, (), dataset=name, atlas="A")
        participants.append(ParticipantPlan("01", name, (run,), (), tmp_path / "out"))
    data_sets = (
        DataSet(tmp_path / "out", tmp_path / "in", ""),
        DataSet(tmp_path / "out/datasets/b", tmp_path / "in", "b"),
    )
    return StudyPlan(tuple(participants), data_sets)


def batch_of(plan, tmp_path, **more):
    jobs = JobRequest(tmp_path / "in", tmp_path / "out", tmp_path / "work", FLAGS, **more)
    return make_batch(jobs, plan=plan, participants=plan.participants, settings=AnalysisSettings())


def test_a_task_repeats_the_flags_of_its_data_set(plan, tmp_path):
    batch = batch_of(plan, tmp_path, nprocs=3, mem_gb=8.0)
    main, other = (list(call.words) for call in batch.calls)
    start = [str(tmp_path / "in"), str(tmp_path / "out"), "participant", "--skip-bids-validation"]
    own = ["--nprocs=3", "--mem-gb=8"]
    main_data_set = ["--session-label", "pre", "--derivatives=prep=/d"]
    shared = ["--atlas", "x", "y", "--notrack"]
    assert main == [*start, *own, *main_data_set, *shared]
    start[1] = str(tmp_path / "out/datasets/b")
    assert other == [*start, *own, *shared]


def test_the_group_level_repeats_the_selection_and_the_study_file(plan, tmp_path):
    group = list(batch_of(plan, tmp_path, nprocs=3).group)
    assert group[2:5] == ["group", "--skip-bids-validation", "--nprocs=1"]
    for flag in FLAGS[:6]:
        assert set(flag.words) <= set(group), flag
    assert not {word for word in group if word.startswith(("--mem", "--group", "--submit"))}
    assert batch_of(plan, tmp_path, with_group=False).group is None


def test_resources_of_the_command_line_replace_predictions(plan, tmp_path):
    predicted = batch_of(plan, tmp_path)
    stated = batch_of(plan, tmp_path, mem_gb=8.0, minutes=7, group_mem_gb=2.0, group_minutes=5)
    assert stated.for_participant.mib == round(8e9 / 2**20)
    assert (stated.for_participant.minutes, stated.for_group.minutes) == (7, 5)
    assert stated.for_group.mib == round(2e9 / 2**20)
    assert predicted.for_participant.mib > 0
    assert predicted.for_participant.minutes > 0


def test_a_container_can_access_named_folders_and_data_sets(plan, tmp_path):
    (tmp_path / "more").mkdir()
    image = tmp_path / "image.sif"
    named = (tmp_path / "more", tmp_path / "missing")
    batch = batch_of(plan, tmp_path, container=image, named=named)
    assert batch.container.image == image
    assert set(batch.container.read_only) == {tmp_path / "more", tmp_path / "in"}
    assert batch.container.writable == (tmp_path / "out", tmp_path / "work")
    assert batch_of(plan, tmp_path).container is None


def test_the_time_of_structure_depends_on_the_voxels_of_all_sessions(tmp_path):
    anats = []
    for session, n in (("pre", 4), ("post", 6)):
        path = tmp_path / f"sub-01_ses-{session}_T1w.nii.gz"
        images.write(path, Image(np.ones((n, 5, 5), np.float32), np.eye(4)))
        anats.append(RawAnat("01", session, path, (("sub", "01"), ("ses", session))))
    participant = ParticipantPlan(
        "01", "", (), (), tmp_path, RawParticipant("01", tuple(anats), ())
    )
    for structure, voxels in (("", 0), ("volumes", 250)):
        size = _size(participant, AnalysisSettings(structure=structure))
        assert (size["anat_voxels"], size["structure_voxels"]) == (250, voxels)
