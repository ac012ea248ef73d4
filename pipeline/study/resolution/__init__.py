"""Resolve a study: tables, data and study file become a design in which nothing is guessed."""
