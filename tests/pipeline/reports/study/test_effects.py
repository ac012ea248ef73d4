"""Sections on effects: circuits that could not be tested remain visible."""


def test_a_circuit_that_could_not_be_tested_is_named_and_drawn(full_study, write):
    report = full_study()
    missing = ("estimate", "ci_low", "ci_high", "p", "p_corrected", "equivalence_p")
    for row in report.tests:
        if row["term"] == "tpn":
            row.update(dict.fromkeys(missing, "n/a"))
    report.verdict["circuits"]["tpn"] |= dict.fromkeys(("estimate", "p", "p_corrected"))
    page = write(report)
    assert (
        "Not tested because of too few participants or too little coverage: Title of tpn."
        in page.text
    )
    assert "not tested" in page.text
