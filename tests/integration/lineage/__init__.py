"""Tests of lineage with real servers."""
