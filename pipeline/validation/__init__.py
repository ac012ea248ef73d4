"""Checks of the method: calibration, power, simulated and published data."""
