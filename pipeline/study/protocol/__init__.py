"""Compare the acquisition protocol of visits and arms, and find copied data."""
