"""Regional series of nine participants before and after psilocybin and placebo (AAL, 90 regions).

The expected means were computed independently from the same files, without denoising.
"""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_OK

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "psilocybin-aal90"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the published series are not available")

EXPECTED = {  # Fisher z by session: mean over all edges, and over those of ten regions of the DMN
    "placebopre": (0.1912, 0.5487),
    "placebopost": (0.1900, 0.5383),
    "psilocybinpre": (0.1889, 0.5433),
    "psilocybinpost": (0.2373, 0.5535),
}


def test_means_agree_with_an_independent_computation():
    found = bids.find_runs(DATA, bids.Query())
    assert len(found.runs) == 36
    assert not found.problems
    atlas = load_atlas(DATA / "atlas-AAL90_dseg.tsv")
    dmn = next(c for c in load_circuits(atlas).circuits if c.name == "dmn")
    assert {atlas.labels[k].rsplit("_", 1)[0] for k in dmn.seeds} == {
        "Precuneus",
        "Cingulum_Post",
        "Angular",
        "Frontal_Sup_Medial",
        "Frontal_Med_Orb",
    }
    for session, (all_edges, within) in EXPECTED.items():
        runs = [run for run in found.runs if run.session == session]
        assert len(runs) == 9
        z = np.array([connectivity.edges(tables.read_series(run.path)[1]) for run in runs])
        assert z.mean() == pytest.approx(all_edges, abs=2e-4)
        values = FeatureSpace.of_edges(atlas.labels).circuit_values(z, [dmn])
        assert values.mean() == pytest.approx(within, abs=2e-4)


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


@pytest.fixture(scope="module")
def crossover(tmp_path_factory):
    """Results of psilocybin compared with placebo in the same nine participants."""
    root = tmp_path_factory.mktemp("crossover")
    (root / "study.toml").write_text(
        '[sessions]\nbaseline = "psilocybinpre"\nfollowup = "psilocybinpost"\n'
        'control_baseline = "placebopre"\ncontrol_followup = "placebopost"\n'
    )
    words = (DATA, root / "out", "group", "-w", root / "work", "--study", root / "study.toml")
    assert run(*words, "--atlas", DATA / "atlas-AAL90_dseg.tsv") == EXIT_OK
    return root


@pytest.mark.slow
def test_a_crossover_of_nine_participants(crossover):
    content = tables.read_json(crossover / "out/group/verdict.json")
    assert content["n"]["treated"] == 9
    assert not any("no control arm" in text for text in content["warnings"])
    terms = content["global"]
    average = terms["average_change"]["estimate"]
    assert average == pytest.approx(0.048, abs=0.004)  # background; all edges: .0484 + .0012
    # not the pattern of a larger global signal, so that the shift stays
    assert terms["shift"]["estimate"] == pytest.approx(0.058, abs=0.015)
    signal = terms["global_signal"]
    assert signal["ci_low"] < 0 < signal["ci_high"]
    assert abs(signal["estimate"]) < 0.1


@pytest.mark.slow
def test_global_terms_are_refused_after_regression_of_the_global_signal(tmp_path):
    """The mean of all regions is regressed out of the published series; nothing declares it."""
    data = tmp_path / "series"
    for source in DATA.rglob("*"):
        target = data / source.relative_to(DATA)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not source.name.endswith("_timeseries.tsv"):
            if source.is_file():
                target.write_bytes(source.read_bytes())
            continue
        names, series = tables.read_series(source)
        series = series - series.mean(axis=0)
        mean = series.mean(axis=1)
        series -= np.outer(mean, mean @ series / (mean @ mean))
        np.savetxt(target, series, delimiter="\t", header="\t".join(names), comments="")
    (tmp_path / "study.toml").write_text(
        '[sessions]\nbaseline = "psilocybinpre"\nfollowup = "psilocybinpost"\n'
    )
    words = (data, tmp_path / "out", "group", "-w", tmp_path / "work")
    words = (*words, "--study", tmp_path / "study.toml", "--atlas", data / "atlas-AAL90_dseg.tsv")
    assert run(*words) == EXIT_OK
    content = tables.read_json(tmp_path / "out/group/verdict.json")
    assert content["global_signal"]["removed"] is True
    assert content["global"] == {}
    assert content["verdict"] not in ("global", "both", "neither")
    assert any("Global terms were therefore not tested" in text for text in content["warnings"])


@pytest.mark.slow
def test_split_halves_of_real_runs_give_no_effect_at_the_nominal_rate(crossover, capsys):
    words = ("calibrate", DATA, crossover / "out", "--study", crossover / "study.toml")
    assert run(*words, "--studies", 100, "--n-permutations", 255) == EXIT_OK
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines()]
    rows = {line[1].strip(): line for line in lines if len(line) > 5}
    for name in ("sign flips", "split halves"):
        for column in (2, 3, 4):  # any global term, specific, node-adjusted
            assert float(rows[name][column].split()[0]) <= 0.13, (name, column)  # 99.9 % bound
