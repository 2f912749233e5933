"""The ways to do it: each a program of its own."""
