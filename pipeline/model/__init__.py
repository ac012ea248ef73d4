"""The model: tests whether a change is global, circuit-specific, both or neither."""
