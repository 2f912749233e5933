"""What the star schema has to hold, worked out from the source in plain Python."""
