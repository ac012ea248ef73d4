"""Entities of the BIDS schema, in the order of file names.

Written by tests/pipeline/bids/derive_entities.py; change that script, not this file.
"""

__all__ = ["BIDS_VERSION", "ENTITIES", "LABEL", "SCHEMA_VERSION"]

SCHEMA_VERSION = "2.0.1"
BIDS_VERSION = "1.11.2"

#: Regular expression of a label.
LABEL = r"[0-9a-zA-Z+]+"

#: Key in file names, long name, and format of the value (``label``, or ``index`` for numbers).
ENTITIES = (
    ("sub", "subject", "label"),
    ("tpl", "template", "label"),
    ("ses", "session", "label"),
    ("cohort", "cohort", "label"),
    ("sample", "sample", "label"),
    ("task", "task", "label"),
    ("tracksys", "tracksys", "label"),
    ("acq", "acquisition", "label"),
    ("nuc", "nucleus", "label"),
    ("voi", "volume", "label"),
    ("ce", "ceagent", "label"),
    ("trc", "tracer", "label"),
    ("stain", "stain", "label"),
    ("rec", "reconstruction", "label"),
    ("dir", "direction", "label"),
    ("run", "run", "index"),
    ("mod", "modality", "label"),
    ("echo", "echo", "index"),
    ("flip", "flip", "index"),
    ("inv", "inversion", "index"),
    ("mt", "mtransfer", "label"),
    ("part", "part", "label"),
    ("proc", "processing", "label"),
    ("hemi", "hemisphere", "label"),
    ("space", "space", "label"),
    ("split", "split", "index"),
    ("recording", "recording", "label"),
    ("chunk", "chunk", "index"),
    ("atlas", "atlas", "label"),
    ("seg", "segmentation", "label"),
    ("scale", "scale", "label"),
    ("res", "resolution", "label"),
    ("den", "density", "label"),
    ("label", "label", "label"),
    ("desc", "description", "label"),
)
