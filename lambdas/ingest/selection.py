"""The SELECTs by which rows are read: what the source evaluates, and DuckDB over its result."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from psycopg import sql

from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.leaves import Leaf
from lambdas.ingest.raw_types import PRINTED, RawType, raw_type
from pipeline.manifest import Column

NOT_HELD = "a value that its raw type cannot hold"


@dataclass(frozen=True)
class Selection:
    """Rows of a table that satisfy a condition.

    All names and values are quoted here. Columns are sent as c0, c1 and so on, because DuckDB's
    names do not depend on case.

    Attributes:
        table: The table.
        columns: The columns to read, in the file's order.
        condition: The condition on its rows.
        leaf: The leaf that has the rows; None for the rows of all leaves.
    """

    table: SourceTable
    columns: tuple[Column, ...]
    condition: sql.Composable
    leaf: Leaf | None = None

    def strict(self) -> str:
        """Returns the SELECT of all rows. It fails if a raw type cannot hold a value."""
        kept = (
            f"{kind.kept.format(sent)} as {identifier(written)}"
            if kind.holds_all
            else f"coalesce({kind.kept.format(sent)}, "
            f"case when {sent} is not null then error({literal(NOT_HELD)}) end) "
            f"as {identifier(written)}"
            for written, (sent, _, kind) in zip(self._written(), self._columns(), strict=True)
        )
        return f"select {', '.join(kept)} from {self._sent(self.condition)}"  # noqa: S608  # nosec B608

    def held(self) -> str:
        """Returns the SELECT of the rows whose values the raw types hold."""
        kept = (
            f"{kind.kept.format(sent)} as {identifier(written)}"
            for written, (sent, _, kind) in zip(self._written(), self._columns(), strict=True)
        )
        held = sql.SQL(" and ").join([self.condition, *self._held().values()])
        return f"select {', '.join(kept)} from {self._sent(held)}"  # noqa: S608  # nosec B608

    def not_held(self) -> str:
        """Returns the SELECT of the values that their raw types cannot hold, as they are printed.

        The source sends every column of their rows as text, and `lost`, the numbers of the columns.
        """
        names = [column.name for column in self.columns]
        key = self._json(name for name in self.table.primary_key if name in names)
        reasons = ", ".join(literal(_reason(kind)) for _, _, kind in self._columns())
        return (
            f"select {literal(self.table.name)} as source_table, primary_key, "  # noqa: S608  # nosec B608
            f"[{', '.join(map(literal, names))}][number] as column_name, texts[number] as value, "
            f"[{reasons}][number] as reason, source_row from ("
            f"select {key} as primary_key, {self._json(names)} as source_row, "
            f"[{', '.join(sent for sent, _, _ in self._columns())}] as texts, "
            "unnest(string_split(lost, ','))::integer as number "
            f"from {_asked(self.printed())})"
        )

    @cached_property
    def renamed(self) -> dict[str, str]:
        """The columns' names by the names that they are written with; empty if those are equal."""
        names = [column.name for column in self.columns]
        if len({name.casefold() for name in names}) == len(names):
            return {}
        return {f"column_{uuid.uuid4().hex}": name for name in names}

    def _written(self) -> list[str]:
        return list(self.renamed) or [column.name for column in self.columns]

    @property
    def origin(self) -> sql.Composable:
        """The relation that the source reads."""
        return self.leaf.identifier if self.leaf and self.leaf.is_named else self.table.identifier

    @property
    def place(self) -> sql.Composable:
        """The condition of the leaf's rows among those of the relation."""
        if self.leaf is None or self.leaf.is_named:
            return sql.SQL("true")
        return self.leaf.condition

    def printed(self) -> sql.Composable:
        """Returns the query of the rows with values that are not held, every column as text."""
        lost = self._held()
        numbers = sql.SQL(", ").join(
            sql.SQL("case when not ({}) then {} end").format(lost[column.name], str(number))
            for number, column in enumerate(self.columns, 1)
            if column.name in lost
        )
        return sql.SQL(
            "select {}, pg_catalog.array_to_string(array[{}]::text[], ',') as lost from {} "
            "where {} and not ({})"
        ).format(
            sql.SQL(", ").join(
                sql.SQL("{} as {}").format(printed(column), sql.Identifier(sent))
                for sent, column, _ in self._columns()
            ),
            numbers,
            self.origin,
            sql.SQL("{} and {}").format(self.place, self.condition),
            sql.SQL(" and ").join(lost.values()),
        )

    def _json(self, names: "Iterator[str] | list[str]") -> str:
        """Returns the expression of a JSON object of some columns' texts; null without columns."""
        sent = {column.name: name for name, column, _ in self._columns()}
        pairs = ", ".join(f"{literal(name)}, {sent[name]}" for name in names)
        return f"{f'json_object({pairs})' if pairs else 'null'}::varchar"

    def _columns(self) -> Iterator[tuple[str, Column, RawType]]:
        for number, column in enumerate(self.columns):
            yield f"c{number}", column, raw_type(column.source_type)

    def _held(self) -> dict[str, sql.Composable]:
        """Returns, by column, the source's condition that the raw type holds the value."""
        return {
            column.name: sql.SQL("({0} is null or {1})").format(
                sql.Identifier(column.name),
                sql.SQL(kind.held).format(sql.Identifier(column.name)),
            )
            for _, column, kind in self._columns()
            if not kind.holds_all
        }

    def _sent(self, condition: sql.Composable) -> str:
        return _asked(self._query(condition))

    def _query(self, condition: sql.Composable) -> sql.Composed:
        columns = sql.SQL(", ").join(
            sql.SQL("{} as {}").format(sent(column), sql.Identifier(name))
            for name, column, _ in self._columns()
        )
        return sql.SQL("select {} from {} where {} and {}").format(
            columns, self.origin, self.place, condition
        )


def sent(column: Column) -> sql.Composable:
    """Returns the expression by which the source sends a column."""
    return sql.SQL(raw_type(column.source_type).sent).format(sql.Identifier(column.name))


def printed(column: Column) -> sql.Composable:
    """Returns the expression of a column's value as its type's output function prints it."""
    return sql.SQL(PRINTED).format(sql.Identifier(column.name))


def literal(text: str) -> str:
    """Returns a text as a literal of DuckDB's SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Returns a name as an identifier of DuckDB's SQL."""
    return '"' + name.replace('"', '""') + '"'


def _asked(query: sql.Composable) -> str:
    return f"postgres_query('source', {literal(query.as_string())})"


def _reason(kind: RawType) -> str:
    return f"{kind.name} holds {kind.limits} only"
