"""Execution: Nipype, processes, locks, logs and crashes."""
