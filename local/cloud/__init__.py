"""AWS on a laptop: MiniStack, mended where it differs from AWS's documented behaviour."""
