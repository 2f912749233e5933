"""The state machines: YAML that people write, and the JSON that is rendered from it."""
