"""Readers and writers of file formats, and the provenance of outputs."""
