"""A randomised trial with ordinary tables, from `circuitshift init` to the verdict.

docs/tutorial.md shows the same steps. The table of participants codes the arms 0 and 1, and names
the healthy participants in another column; some visits have two runs; one participant dropped out
after the baseline, and one has a follow-up only.
"""

import json
import re

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli import main as cli

NETWORKS = ("Default", "DorsAttn", "Cont", "Vis", "SomMot", "SalVentAttn")
REGIONS = [
    f"7Networks_{side}H_{network}_{k}" for network in NETWORKS for side in "LR" for k in (1, 2, 3)
]
N_ARM, N_HEALTHY = 10, 6
ARMS = {"1": N_ARM, "0": N_ARM}
GROUPS = """\
[groups]
treated = {arm = "1"}
control = {arm = "0"}
reference = {diagnosis = "HC"}
labels = {treated = "escitalopram", control = "placebo", reference = "healthy"}
[tests]
n_permutations = 300
"""


def series(rng, default, n_volumes=150):
    """Return series of six networks; `default` is the coupling of the default mode."""
    network = np.repeat(np.arange(len(NETWORKS)), 6)
    weight = np.array([default, 1.3, 1.3, 1.3, 1.3, 1.3])[network]
    return weight * rng.normal(size=(n_volumes, len(NETWORKS)))[:, network] + rng.normal(
        size=(n_volumes, len(REGIONS))
    )


def write_run(root, participant, session, values, run=""):
    folder = root / f"sub-{participant}" / f"ses-{session}" / "func"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{participant}_ses-{session}_task-rest{run}_atlas-Tiny_timeseries"
    lines = ["\t".join(REGIONS), *("\t".join(f"{v:.4f}" for v in row) for row in values)]
    (folder / f"{stem}.tsv").write_text("\n".join(lines) + "\n")
    (folder / f"{stem}.json").write_text(json.dumps({"RepetitionTime": 2.0}))


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """Write the trial: patients' default-mode network is strong, and falls under escitalopram."""
    root = tmp_path_factory.mktemp("trial")
    rng = np.random.default_rng(5)
    rows = ["participant_id\tarm\tdiagnosis\tage"]
    number = 0
    for arm, n in (*ARMS.items(), ("n/a", N_HEALTHY)):
        for k in range(n):
            number += 1
            label = f"{number:03d}"
            diagnosis = "HC" if arm == "n/a" else "MDD"
            rows.append(f"sub-{label}\t{arm}\t{diagnosis}\t{20 + number}")
            before = 0.8 if arm == "n/a" else 1.2
            after = 0.8 if arm in ("1", "n/a") else 1.2
            first, second = (("baseline", before), ("week8", after))
            if (arm, k) == ("1", 0):
                visits = [first]  # dropped out
            elif (arm, k) == ("0", 0):
                visits = [second]  # follow-up only
            else:
                visits = [first, second]
            for session, default in visits:
                runs = ("_run-1", "_run-2") if k % 3 == 0 else ("",)
                for run in runs:
                    write_run(root / "ds", label, session, series(rng, default), run)
    (root / "ds/participants.tsv").write_text("\n".join(rows) + "\n")
    return root


def call(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


@pytest.mark.slow
def test_from_init_to_the_verdict_without_editing_the_table(trial, capsys):
    ds, out, study = trial / "ds", trial / "out", trial / "study.toml"
    table = (ds / "participants.tsv").read_bytes()

    # The arms are open: the group level refuses, and init writes the questions into the file.
    assert call("init", ds, "-o", study) == 0
    printed = capsys.readouterr().out
    assert "baseline   ses-baseline (25 participants)" in printed
    assert "1 question open" in printed
    assert '"0" (10 participants)' in study.read_text()
    words = ("-w", trial / "work", "--nprocs", 2)
    assert call(ds, out, "group", *words, "--study", study) == 1
    assert '  - participants.tsv: 2 columns may name the arms (arm: "0"' in capsys.readouterr().err

    # The user states the roles; init keeps them and adds the rest.
    (trial / "roles.toml").write_text(GROUPS)
    study.unlink()
    assert call("init", ds, "--study", trial / "roles.toml", "-o", study) == 0
    printed = capsys.readouterr().out
    assert "all questions are resolved" in printed
    assert "escitalopram: 10 with data, 9 with both visits" in printed
    assert "placebo: 10 with data, 9 with both visits" in printed
    assert "healthy: 6 with data, 6 with both visits" in printed
    assert "sub-001 (no ses-week8), sub-011 (no ses-baseline)" in printed

    # The dry run prints the same design, and computes nothing.
    assert call(ds, out, "participant", *words, "--study", study, "--dry-run") == 0
    assert "escitalopram: 10 with data, 9 with both visits" in capsys.readouterr().out
    assert not out.exists()

    assert call(ds, out, "participant", *words, "--study", study) == 0
    assert call(ds, out, "group", *words, "--study", study) == 0
    assert (ds / "participants.tsv").read_bytes() == table

    verdict = tables.read_json(out / "group/verdict.json")
    assert (verdict["n"]["treated"], verdict["n"]["control"]) == (9, 9)
    assert verdict["n"]["reference"] == 6
    dmn = verdict["circuits"]["dmn"]
    assert dmn["estimate"] < -0.2
    assert dmn["p_corrected"] < 0.05
    design = tables.read_json(out / "group/design.json")
    assert design["participants_by_role"] == {"control": 10, "reference": 6, "treated": 10}
    assert design["decisions"][2]["answer"] == "arm = 1 (10 participants)"
    report = (out / "group/report.html").read_text()
    assert "9 treated participants (escitalopram) and 9 control participants (placebo)" in report

    # A study file with a wrong group is refused, and the former result stays.
    wrong = trial / "wrong.toml"
    wrong.write_text(GROUPS.replace('"1"', '"2"'))
    former = (out / "group/verdict.json").read_bytes()
    assert call(ds, out, "group", *words, "--study", wrong) == 1
    error = capsys.readouterr().err
    assert re.search("treated group '2' is not in column 'arm' .*\"0\", \"1\"", error)
    assert (out / "group/verdict.json").read_bytes() == former
    assert (out / "group/report.html").exists()
