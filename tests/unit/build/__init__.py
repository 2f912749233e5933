"""Tests of the Build stage without a JVM: its arguments, and what it has to do."""
