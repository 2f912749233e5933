"""Looks at an installed stack and says what has to be mended: `make doctor`. It changes nothing."""
