"""Heterogeneity of change over pairs of networks, and tests of circuits against it."""
