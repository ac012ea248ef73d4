"""Three small trials, each analysed by both levels, and their meta-analysis."""

import json

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli import main as cli

NETWORKS = ("Default", "DorsAttn", "Cont", "Vis", "SomMot", "SalVentAttn")
REGIONS = [
    f"7Networks_{side}H_{network}_{k}" for network in NETWORKS for side in "LR" for k in (1, 2, 3)
]
STUDY = """\
[sessions]
baseline = "pre"
followup = "post"
[groups]
treated = {arm = "drug"}
control = {arm = "placebo"}
[tests]
n_permutations = 200
"""
N_ARM = 8


def call(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def series(rng, default, n_volumes=150):
    """Return series of six networks; `default` is the coupling of the default mode."""
    network = np.repeat(np.arange(len(NETWORKS)), 6)
    weight = np.array([default, *[1.3] * 5])[network]
    shared = rng.normal(size=(n_volumes, len(NETWORKS)))[:, network]
    return weight * shared + rng.normal(size=(n_volumes, len(REGIONS)))


def write_trial(root, seed, after):
    """Write a trial in which the default-mode network of treated participants falls."""
    rng = np.random.default_rng(seed)
    rows = ["participant_id\tarm\tage"]
    for number in range(2 * N_ARM):
        label, arm = f"{number:02d}", "drug" if number < N_ARM else "placebo"
        rows.append(f"sub-{label}\t{arm}\t{rng.integers(20, 60)}")
        for session, default in (("pre", 1.2), ("post", after if arm == "drug" else 1.2)):
            folder = root / f"sub-{label}/ses-{session}/func"
            folder.mkdir(parents=True)
            stem = f"sub-{label}_ses-{session}_task-rest_atlas-Tiny_timeseries"
            lines = ["\t".join(f"{v:.4f}" for v in row) for row in series(rng, default)]
            (folder / f"{stem}.tsv").write_text("\n".join(["\t".join(REGIONS), *lines]) + "\n")
            (folder / f"{stem}.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")


@pytest.mark.slow
@pytest.mark.usefixtures("empty_figures")
def test_a_change_that_three_trials_have_in_common_is_found(tmp_path, capsys):
    (tmp_path / "study.toml").write_text(STUDY)
    outputs = []
    for seed, after in enumerate((0.75, 0.8, 0.85)):
        data, out = tmp_path / f"trial{seed}", tmp_path / f"out{seed}"
        write_trial(data, seed, after)
        shared = ("-w", tmp_path / "work", "--nprocs", 1, "--study", tmp_path / "study.toml")
        for level in ("participant", "group"):
            assert call(data, out, level, *shared) == 0
        outputs.append(out)
    capsys.readouterr()

    assert call("pool", *outputs, "-o", tmp_path / "pooled") == 0
    printed = capsys.readouterr().out
    assert "Default-mode network: residual change" in printed
    content = tables.read_json(tmp_path / "pooled/pool.json")
    assert [study["name"] for study in content["studies"]] == ["out0", "out1", "out2"]
    dmn = content["terms"]["dmn"]
    own = [study["estimate"] for study in dmn["studies"]]
    assert all(value < -0.1 for value in own)
    assert min(own) < dmn["effect"]["estimate"] < max(own)
    assert dmn["effect"]["ci_high"] < 0
    assert dmn["family"] == "primary"
    assert dmn["networks"]["sd"] > 0
    for name, term in content["terms"].items():
        if term["family"] == "global" and term["effect"] is not None:
            low, high = term["effect"]["ci_low"], term["effect"]["ci_high"]
            assert low < 0 < high, name

    # the same trial again, in another folder
    assert call("pool", outputs[0], f"again={outputs[0]}", "-o", tmp_path / "none") == 1
    assert "analyses of the same data" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
