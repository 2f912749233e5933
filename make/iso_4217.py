"""Writes star_schema/definitions/iso_4217.toml: the currencies that pycountry knows."""

import json
from pathlib import Path

import pycountry

FILE = Path(__file__).parents[1] / "star_schema" / "definitions" / "iso_4217.toml"


def main() -> None:
    """Writes the file."""
    names = {currency.alpha_3: currency.name for currency in pycountry.currencies}
    lines = [f"{code} = {json.dumps(name, ensure_ascii=False)}\n" for code, name in names.items()]
    FILE.write_text("# Rendered from pycountry by `make render`.\n" + "".join(lines), "utf-8")


if __name__ == "__main__":
    main()
