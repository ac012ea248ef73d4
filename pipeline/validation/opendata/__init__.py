"""Published data sets: fetching, recipes and comparison with published values."""
