"""What more than one stage of the pipeline needs: manifests, errors, settings, connections."""
