"""Tests of the functions' deployment packages."""
