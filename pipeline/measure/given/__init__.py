"""Time series and matrices that other programs made: what lies beside them, and what they are."""
