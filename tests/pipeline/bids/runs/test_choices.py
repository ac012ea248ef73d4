"""Records of choices, and their sentences."""

from circuitshift.pipeline.bids.runs.choices import RunChoice, join_labels


def test_the_sentence_states_what_is_used_and_what_is_not():
    choice = RunChoice("rec", "rec-a", (("rec-b", 1), ("no rec-", 12)), "which most runs have")
    assert choice.sentence == (
        "rec-a is used, which most runs have; ignored: rec-b (1 run), no rec- (12 runs)."
    )
    assert RunChoice("rec", "rec-a", (), "because").sentence == "rec-a is used, because."


def test_labels_are_joined():
    assert join_labels("rec", ["a", "", "b"]) == "rec-a, no rec- and rec-b"
    assert join_labels("rec", [""]) == "no rec-"
