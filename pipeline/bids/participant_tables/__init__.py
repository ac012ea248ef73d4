"""Tables about participants: rows, labels, codes of missing values, and scores by session."""
