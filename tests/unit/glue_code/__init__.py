"""Tests of the custom resource that gives the Glue jobs their code."""
