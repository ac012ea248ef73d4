"""Atlases and circuits: data files and the functions that read them."""

__all__ = ["DEFAULT_ATLAS", "PREDECESSOR"]

#: Name of the default atlas on the command line and in settings (`circuit_spheres`).
DEFAULT_ATLAS = "seitzman300circuits"
#: Name of the atlas that was the default before, which the default contains.
PREDECESSOR = "seitzman300"
