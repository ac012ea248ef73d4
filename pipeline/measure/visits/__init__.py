"""Combine the runs of a visit: equal minutes and concatenated series."""
