"""Several builds, one after the other, and what happens between them."""
