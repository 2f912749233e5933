"""Who builds the star schema: one script each."""
