"""Tests of Load that need no server."""
