"""Published data sets: what is needed of them, how it gets here, what was found in them."""
