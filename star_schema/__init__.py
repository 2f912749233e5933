"""What the pipeline produces: the star tables, their SELECTs, and the rules of their sources."""
