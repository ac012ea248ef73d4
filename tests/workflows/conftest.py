"""Fixtures for the workflows of both levels."""

import pytest
from nipype.interfaces.base import isdefined


@pytest.fixture
def flat_graph():
    """Return the flat graph of a workflow, after checking that no mandatory input is missing."""

    def flatten(workflow):
        graph = workflow._create_flat_graph()
        connected = {node: set() for node in graph.nodes()}
        for _, target, data in graph.edges(data=True):
            connected[target] |= {field for _, field in data["connect"]}
        for node, fields in connected.items():
            values = node.inputs.get()
            mandatory = node.inputs.traits(mandatory=True)
            assert not [n for n in mandatory if not isdefined(values[n]) and n not in fields]
        return graph

    return flatten
