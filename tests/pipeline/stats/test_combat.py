"""ComBat: site effects are removed, effects of interest preserved, confounded sites refused."""

import builtins

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError, InputError
from circuitshift.pipeline.stats.combat import harmonise_sites


def scans(rng, n=60, n_edges=80):
    """Simulate two visits at two sites; the second site has a higher mean and variance."""
    visit = np.arange(n) % 2
    site = np.where(np.arange(n) < n // 2, "A", "B")
    other = site == "B"
    noise = rng.normal(0, 0.1, (n, n_edges)) * np.where(other, 1.6, 1.0)[:, None]
    level = 0.3 + other[:, None] * (0.1 + rng.normal(0, 0.1, n_edges))
    z = level + 0.15 * visit[:, None] + noise
    return z, site, visit[:, None].astype(float)


def test_site_effects_are_removed_and_the_change_is_preserved():
    z, site, visit = scans(np.random.default_rng(0))
    found = harmonise_sites(z, list(site), visit)
    a, b = found[site == "A"], found[site == "B"]
    assert abs(z[site == "A"].mean() - z[site == "B"].mean()) > 0.08
    assert a.mean() == pytest.approx(b.mean(), abs=0.01)
    spread = [part[::2].std(axis=0).mean() for part in (a, b)]  # within a visit
    assert spread[0] == pytest.approx(spread[1], rel=0.15)
    change = [part[1::2].mean() - part[::2].mean() for part in (a, b)]
    assert change == pytest.approx([0.15, 0.15], abs=0.02)


def test_an_edge_missing_in_one_scan_is_missing_in_all_and_does_not_affect_others():
    z, site, visit = scans(np.random.default_rng(1))
    z[3, 7] = np.nan
    found = harmonise_sites(z, list(site), visit)
    assert np.isnan(found[:, 7]).all()
    assert np.isfinite(np.delete(found, 7, axis=1)).all()


def test_a_single_site_is_returned_unchanged():
    z, _, visit = scans(np.random.default_rng(2))
    assert harmonise_sites(z, ["A"] * 60, visit) is z


@pytest.mark.parametrize("what", ["visit", "arm"])
def test_sites_confounded_with_effects_are_refused(what):
    z, _, visit = scans(np.random.default_rng(3))
    arm = (np.arange(60) < 30).astype(float)[:, None]
    keep = np.hstack([visit, arm, visit * arm])
    column = visit if what == "visit" else arm
    site = np.where(column[:, 0] > 0, "new", "old")
    with pytest.raises(DesignError, match="sites new, old are confounded with visit"):
        harmonise_sites(z, list(site), keep)


def test_a_site_with_two_scans_is_refused():
    z, site, visit = scans(np.random.default_rng(4))
    site = site.astype(object)
    site[:2] = "C"
    with pytest.raises(DesignError, match="site C has fewer than 3 scans"):
        harmonise_sites(z, list(site), visit)


def test_without_the_package_the_error_names_the_installation_command(monkeypatch):
    z, site, visit = scans(np.random.default_rng(5))
    real = builtins.__import__

    def without(name, *args, **more):
        if name == "neuroCombat":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'circuitshift\[harmonise\]'"):
        harmonise_sites(z, list(site), visit)
