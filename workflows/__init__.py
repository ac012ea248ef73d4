"""Order and place: which function runs when, and where."""
