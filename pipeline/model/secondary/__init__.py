"""Secondary analyses, which are descriptive and do not influence the verdict."""
