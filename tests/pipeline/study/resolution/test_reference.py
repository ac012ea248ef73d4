"""The healthy group of a further data set."""

from circuitshift.pipeline.study.resolution.roles import resolve_roles

HALF = ["drug", "drug", "placebo", "placebo"]


def resolved(observed, reference, **keys):
    return resolve_roles(keys, observed({"group": HALF}, reference=reference))


def test_it_is_found_by_its_name(observed):
    table = {"group": {"01": "control", "02": "depr"}}
    roles = resolved(observed, {"ds2": table})
    assert roles.reference_dataset == "ds2"
    assert roles.criteria == (("reference", "group", ("control",)),)
    assert roles.groups["control"] == ("placebo",)


def test_a_data_set_without_groups_is_the_reference(observed):
    roles = resolved(observed, {"ds2": {"age": {"01": "30", "02": "41"}}})
    assert (roles.reference_dataset, roles.criteria, roles.refusals) == ("ds2", (), [])


def test_what_is_not_clear_is_refused(observed):
    roles = resolved(observed, {"ds2": {"group": {"01": "p", "02": "q"}}})
    assert "its healthy group is not clear" in roles.refusals[0].what
    roles = resolved(observed, {"a": {}, "b": {}})
    assert "2 reference data sets are given" in roles.refusals[0].what


def test_patients_are_never_the_reference(observed):
    roles = resolved(observed, {"ds2": {"diagnosis": {"01": "MDD", "02": "MDD", "03": "n/a"}}})
    assert '"MDD" (2 participants)' in roles.refusals[0].what
    healthy = resolved(observed, {"ds2": {"diagnosis": {"01": "HC", "02": "HC"}}})
    assert healthy.criteria == (("reference", "diagnosis", ("HC",)),)
    labels = resolved(observed, {"ds2": {"patient_id": {"01": "p1", "02": "p2"}}})
    assert (labels.criteria, labels.refusals) == ((), [])
