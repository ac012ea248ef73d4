"""The text and the record of a resolution."""

import json

from circuitshift.pipeline.study.resolution.describe import design_record, format_resolution
from circuitshift.pipeline.study.resolution.resolve import resolve


def test_text_names_counts_and_missing_visits(observed, stated):
    seen = observed({"arm": ["drug", "drug", "placebo", "placebo"]})
    seen.sessions["03"] = ("pre",)
    labels = (("treated", "escitalopram"),)
    text = format_resolution(resolve(stated(labels=labels), seen), seen, ["Task rest is used."])
    assert "baseline   ses-pre (4 participants)" in text
    assert "[recognised] The names in column arm" in text
    assert "escitalopram: 2 with data, 2 with both visits" in text
    assert "control: 2 with data, 1 with both visits" in text
    assert "without both visits: sub-03 (no ses-post)" in text
    assert "Task rest is used." in text


def test_text_of_a_refusal_has_the_lines_to_paste(observed, stated):
    seen = observed({"arm": ["0", "1", "0", "1"]})
    text = format_resolution(resolve(stated(), seen), seen)
    assert "the study cannot be resolved yet" in text
    assert '\n[groups]\ncolumn = "arm"\n' in text


def test_record_is_json_and_counts_roles(observed, stated):
    seen = observed({"arm": ["drug", "drug", "placebo", "placebo"]})
    record = json.loads(json.dumps(design_record(resolve(stated(), seen), seen)))
    assert record["participants_by_role"] == {"control": 2, "treated": 2}
    assert record["participants_by_session"] == {"post": 4, "pre": 4}
    assert record["design"]["treated"] == ["drug"]
    assert record["decisions"][0]["source"] == "recognised"
