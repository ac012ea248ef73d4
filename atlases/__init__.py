"""Atlases and circuits: data files and the functions that read them."""
