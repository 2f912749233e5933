"""The custom resource that gives the Glue jobs their code."""
