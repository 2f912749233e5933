"""The contenders that build the star schema: one script each."""
