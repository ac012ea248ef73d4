"""Coregistration of runs to the T1-weighted brain of their participant."""
