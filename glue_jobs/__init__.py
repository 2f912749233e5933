"""The Glue jobs: thin entry points, and the star schema that both of them build."""
