"""Publish: the raw zone's catalogue entries, previews and extracts, by AWS SDK for pandas."""
