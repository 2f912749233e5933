"""Tests of the declarations of star tables and source tables."""
