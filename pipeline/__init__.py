"""Pure functions: arrays, tables and files in, arrays, tables and files out; never Nipype."""

__version__ = "0.1.0"
