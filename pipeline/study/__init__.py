"""The group level: participants are paired, the model is run, and tables are written."""
