"""The lake table of source rows that broke a rule."""

from typing import Final

from star_schema.tables import StarColumn

QUARANTINE: Final = "quarantine"
COMMENT: Final = "Source rows of which no fact can be made, until the source corrects them"
COLUMNS: Final = (
    StarColumn("star_table", "string", "The fact that the row is missing from"),
    StarColumn("natural_key", "string", "The row's natural key, as text"),
    StarColumn("reason", "string", "The rules as one text, of rows without broken_rules"),
    StarColumn("broken_rules", "array<string>", "The rules that the row breaks"),
    StarColumn("source_row", "string", "The row as the source has it, as JSON"),
    StarColumn("run_id", "string", "Name of the execution that captured the row"),
    StarColumn("_sequence", "bigint", "Number of the run that captured the row"),
)
