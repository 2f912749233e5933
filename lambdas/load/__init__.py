"""Load: the star schema's new versions, into the warehouse, as one transaction."""
