"""Tests of state_machine/pipeline.asl.json, read and evaluated without any cloud."""
