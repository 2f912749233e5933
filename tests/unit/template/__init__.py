"""Tests of template.yaml: what an emulator takes in silence, and AWS would not forgive."""
