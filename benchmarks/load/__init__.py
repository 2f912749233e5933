"""Load beside its peers: facts of a star schema into PostgreSQL, under all its constraints."""
