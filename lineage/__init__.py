"""The life of one row of a star table, through all parts of the pipeline: `make trace`."""
