"""The generated business: a source database to try the pipeline on."""
