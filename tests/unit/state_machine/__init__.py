"""Tests of the state machines, read and evaluated without any cloud."""
