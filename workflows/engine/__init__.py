"""Execution with Nipype: process pool, locks, logs and crash files."""
