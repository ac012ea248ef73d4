"""Summary of a participant: usable data, warnings, and the rating form."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import datetime
from html import unescape

import pytest

from circuitshift.pipeline.reports.person.summary import participant_warnings
from circuitshift.pipeline.study.ratings import Rating, read_ratings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def test_an_excluded_run_is_listed_with_its_reason_and_without_its_minutes(
    participant_report, write
):
    report = participant_report()
    bad = replace(report.runs[1], excluded=("0.9 minutes retained, 2 needed",))
    page = write(replace(report, runs=(report.runs[0], bad), edges=report.edges[:1]))
    assert "Some of the data are usable." in page.text
    assert "sub-01_ses-post_task-rest: 0.9 minutes retained, 2 needed" in page.text
    assert "Only one session is usable, so change cannot be computed." in page.text
    assert "ses-post: 1.8 minutes" not in page.text


def test_the_page_states_that_data_are_simulated(participant_report, write):
    sentence = "The data are simulated, as their description states (a program)."
    page = write(replace(participant_report(), simulated=sentence))
    assert page.text.index(sentence) < page.text.index("All data are usable.")
    assert "simulated" not in write(participant_report()).text


def test_warnings_describe_unusual_values(participant_report, write):
    report = participant_report()
    usual = replace(
        report.runs[0], retained=replace(report.runs[0].retained, minutes=9.0), median_tsnr=50.0
    )
    moved = replace(usual.retained, mean_fd_mm=0.4, residual_dof=12.0)
    unusual = replace(usual, session="post", label="run post", retained=moved, median_tsnr=20.0)
    assert participant_warnings(replace(report, runs=(usual, replace(usual, session="post")))) == []
    text = " ".join(participant_warnings(replace(report, runs=(usual, unusual))))
    for words in (
        "run post: denoising left 12 degrees of freedom",
        "Motion differs between visits",
        "0.110 mm in sub-01_ses-pre_task-rest, 0.400 mm in run post",
        "The signal-to-noise ratio differs between visits",
    ):
        assert words in text
    assert "ses-pre has 1.8 minutes" in " ".join(participant_warnings(report))
    rated = replace(report, ratings=(Rating("01", "post", "exclude", "AB", "stripes"),))
    assert "ses-post was rated exclude by AB: stripes." in participant_warnings(rated)
    page = write(rated)
    assert "All data are usable. However, a rater excluded data." in page.text


@pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("BROWSER_TESTS") != "required",
    reason="chromium is not installed; run `make browser`",
)
def test_the_form_saves_a_rating_that_the_group_level_reads(tmp_path, participant_report, write):
    write(replace(participant_report(), data_set="ds2", provenance={"inputs hash": "abc123"}))
    driver = """<script>
    var saved = {};
    URL.createObjectURL = function (blob) { blob.text().then(function (text) {
      document.title = JSON.stringify({ name: saved.name, text: text }); }); return "#rating"; };
    HTMLAnchorElement.prototype.click = function () { saved.name = this.download; };
    document.getElementById("rating-exclude").checked = true;
    document.getElementById("rating-session").value = "post";
    document.getElementById("rating-rater").value = "A. B.";
    document.getElementById("rating-note").value = 'stripes & "more"';
    document.querySelector(".rating button").click();
    </script></body>"""
    page = (tmp_path / "r.html").read_text().replace("</body>", driver)
    (tmp_path / "driven.html").write_text(page)
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom",
            (tmp_path / "driven.html").as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    saved = json.loads(unescape(re.search("<title>(.*?)</title>", done.stdout, re.DOTALL)[1]))
    assert saved["name"] == "ds2_sub-01_ses-post_rater-AB_rating.json"
    assert f"{saved['name']} is saved" in done.stdout
    (tmp_path / "ratings").mkdir()
    (tmp_path / "ratings" / saved["name"]).write_text(saved["text"])
    (rating,) = read_ratings(tmp_path / "ratings")
    assert rating == Rating("ds2:01", "post", "exclude", "A. B.", 'stripes & "more"', rating.rated)
    assert abs(datetime.fromisoformat(rating.rated).timestamp() - time.time()) < 600
    assert json.loads(saved["text"])["page"] == "abc123"
