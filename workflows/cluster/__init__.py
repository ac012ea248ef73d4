"""Slurm jobs: scripts, resources and status."""
