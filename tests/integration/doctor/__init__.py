"""Tests of the doctor with real servers."""
