"""Simulators of connectivity, images and data sets with known effects."""
