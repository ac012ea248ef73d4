"""Calibrate the tests on truths that lie outside the model, in simulated and in real series."""
