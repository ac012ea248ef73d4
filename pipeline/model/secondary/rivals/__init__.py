"""Moderators of a change, and explanations of a change other than treatment."""
