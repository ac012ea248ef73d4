"""The regression of one participant's features on columns that other participants estimate."""
