"""Atlases and circuits: data, and the functions that read it."""
