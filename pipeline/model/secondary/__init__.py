"""Secondary analyses: descriptive, and without influence on the verdict."""
