"""Load, compared with its peers: facts of a star schema to PostgreSQL, with all constraints."""
