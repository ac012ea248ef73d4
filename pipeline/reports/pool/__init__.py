"""The page of a meta-analysis."""
