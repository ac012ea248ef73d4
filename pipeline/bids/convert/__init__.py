"""Convert series and matrices that are not in BIDS to a BIDS derivative."""
