"""The tables of a lake as they are at one instant, to which they can be restored."""

from pyiceberg.catalog.glue import GlueCatalog


class LakeState:
    """The current metadata of each table of a Glue database.

    Args:
        catalog: The Glue Data Catalog.
        database: The database.
    """

    def __init__(self, catalog: GlueCatalog, database: str) -> None:
        self._catalog = catalog
        self._metadata = {
            table: catalog.load_table(table).metadata_location
            for table in catalog.list_tables(database)
        }

    def restore(self) -> None:
        """Makes that metadata the current one again. Files that were added stay, unused."""
        for table, location in self._metadata.items():
            self._catalog.drop_table(table)
            self._catalog.register_table(table, location)
