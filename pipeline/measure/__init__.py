"""Measurement of one participant: runs become time series, connectivity and quality measures."""
