"""Simulate connectivity, images and data sets with known effects."""
