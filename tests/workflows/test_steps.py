"""Interfaces of all processing steps: names, inputs and code hashes."""

import pytest
from nipype.interfaces.base import SimpleInterface

from circuitshift.workflows import steps


@pytest.mark.parametrize("name", steps.__all__)
def test_each_step_is_an_interface_named_after_its_function(name):
    interface = getattr(steps, name)
    assert issubclass(interface, SimpleInterface)
    assert interface.__name__ == name
    assert interface.__module__ == steps.__name__  # where workers import it from
    assert interface.__doc__
    assert interface.output_spec().get()


def test_the_code_hash_of_a_step_is_that_of_its_module():
    codes = {
        getattr(steps, name).input_spec().code: name
        for name in ("EstimateRunMotion", "MeasureParticipant", "ReportParticipant", "RunGroup")
    }
    assert len(codes) == 4
    assert steps.PreprocessRun.input_spec().code == steps.EstimateRunMotion.input_spec().code
