"""Meta-analysis of finished analyses: reading, comparison, pooling, tables."""
