"""Words for names of the tables, and minus signs."""

import pytest

from circuitshift.pipeline.words import (
    GLOBAL_TERMS,
    MINUS,
    in_words,
    join_names,
    with_minus_signs,
)

TITLES = {"dmn": "default-mode network", "dmn_tpn": "antagonism of networks"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-0.20 (-0.3 to -.1)", f"{MINUS}0.20 ({MINUS}0.3 to {MINUS}.1)"),
        ("sub-01, ses-2, 10-12, 1e-05, 2020-01-02", "sub-01, ses-2, 10-12, 1e-05, 2020-01-02"),
        ("cortex - amygdala -w --n 3", "cortex - amygdala -w --n 3"),
        ("doi:10.1016/S0006(00)-1", "doi:10.1016/S0006(00)-1"),
    ],
)
def test_only_hyphens_of_negative_numbers_become_minus_signs(text, expected):
    assert with_minus_signs(text) == expected
    assert with_minus_signs(expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dmn_tpn and dmn rose.", "Antagonism of networks and default-mode network rose."),
        ("It fell. dmn rose.", "It fell. Default-mode network rose."),
        ("not for global_signal, dmn", "not for global-signal amplitude, default-mode network"),
        ("see dmn.tsv, dmn_core and global_signal_removed = true", ""),
        ("It fell in dmn.", "It fell in default-mode network."),
        ("dmn -0.1", f"Default-mode network {MINUS}0.1"),
    ],
)
def test_names_become_words_unless_they_are_part_of_another_name(text, expected):
    assert in_words(text, TITLES) == (expected or text)


def test_each_term_of_several_words_has_words():
    terms = ("shift", "gain", "global_signal", "average_change", "proportional_change")
    assert in_words(", ".join(terms)).replace(" change", "") == (
        "shift, gain, global-signal amplitude, average, proportional"
    )
    assert set(GLOBAL_TERMS) == {term for term in terms if "_" in term}


def test_names_are_joined_as_in_a_sentence():
    assert join_names([]) == ""
    assert join_names(["a"]) == "a"
    assert join_names(["a", "b"]) == "a and b"
    assert join_names(["a", "b", "c"]) == "a, b and c"
