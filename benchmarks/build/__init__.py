"""Build, compared with its limit and a peer."""
