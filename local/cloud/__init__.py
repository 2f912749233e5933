"""AWS on one machine: MiniStack, patched where it differs from AWS's documented behaviour."""
