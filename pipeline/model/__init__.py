"""The model: tests of whether a change is global, circuit-specific, both or neither."""
