"""Build beside its limit and a peer."""
