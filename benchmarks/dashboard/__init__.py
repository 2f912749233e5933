"""The dashboard, measured in a browser: `make bench-dashboard`."""
