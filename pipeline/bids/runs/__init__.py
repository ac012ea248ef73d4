"""Choose the runs of a data set: its folder, task, version and companion files."""
