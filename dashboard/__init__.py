"""A page on the warehouse: `make dashboard`."""
