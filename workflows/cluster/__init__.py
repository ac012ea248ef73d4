"""Slurm jobs: scripts, resource requests and status."""
