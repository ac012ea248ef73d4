"""Published data sets: download, recipes and comparison with published values."""
