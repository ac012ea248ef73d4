"""Measure the structure of the brain in each session, from Jacobians within the participant."""
