"""Tests of the deployed template, in the local cloud."""
