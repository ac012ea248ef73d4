"""BIDS data sets: files, entities, runs, participants and their metadata."""
