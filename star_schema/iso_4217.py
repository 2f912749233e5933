"""The currencies of ISO 4217, which the star tables' SELECTs read as the table iso_4217.

They are pycountry's, by `make render`: a job that starts installs no package.
"""

import tomllib

from star_schema import files


def currencies() -> list[tuple[str, str]]:
    """Returns the code and the name of every currency."""
    text = (files.root() / "iso_4217.toml").read_text("utf-8")
    return [(code, name) for code, name in tomllib.loads(text).items()]
