"""Sections on effects: circuits that could not be tested remain visible."""

from circuitshift.pipeline.reports.study.effects import circuit_table


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


def test_secondary_circuits_have_a_table_of_their_own(full_study, estimate, write):
    report = full_study()
    assert "Secondary circuits" not in write(report).text
    report.verdict["secondary_circuits"] = {"salience": {"title": "Salience network"}}
    report.tests.append(estimate("salience", "secondary", 0.123, 0.03))
    report.tests.append(estimate("salience", "secondary, node-adjusted", 0.045, 0.3))
    table = circuit_table(report, "secondary")
    (row,) = table.rows
    assert row[0] == "Salience network (salience)"
    assert "+0.123" in row
    assert "+0.045" in row
    assert [r[0].split(" (")[-1] for r in circuit_table(report).rows] == ["dmn)", "tpn)"]
    page = write(report).text
    assert "Secondary circuits (1)" in page
    assert "do not influence the verdict" in page
