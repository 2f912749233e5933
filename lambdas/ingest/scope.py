"""Which tables and columns of the source are captured, by the stack's parameters.

A pattern is a name with the wildcards `*` and `?`. Tables are `table` or `schema.table`, columns
`table.column` or `schema.table.column`. What a pattern leaves out is never selected.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

import sqlglot
from sqlglot import exp

from lambdas.ingest.failures import TableFailure
from pipeline.errors import InvalidSettings
from star_schema.sources import source_declaration
from star_schema.tables import StarTable

NOTHING_LEFT_OUT = "-"
"""The parameter SourceTablesLeftOut if every table is captured; an empty one means its default."""


@dataclass(frozen=True)
class Scope:
    """The schemas that are captured, and the tables and columns that are left out of them.

    Attributes:
        schemas: The schemas. Tables of the first one have their bare name in the pipeline, and
            only these feed star tables; the others' are named `schema.table`.
        tables_left_out: Patterns of tables.
        columns_left_out: Patterns of columns.
    """

    schemas: tuple[str, ...] = ("public",)
    tables_left_out: tuple[str, ...] = ("_prisma_migrations",)
    columns_left_out: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, schemas: Iterable[str], tables_left_out: Iterable[str], columns_left_out: Iterable[str]
    ) -> Self:
        """Returns the scope of some parameters.

        Raises:
            InvalidSettings: There is no schema, or a pattern has too few or too many parts.
        """
        patterns = tuple(tables_left_out)
        patterns = () if patterns == (NOTHING_LEFT_OUT,) else patterns
        found = cls(tuple(schemas), patterns, tuple(columns_left_out))
        if not found.schemas:
            raise InvalidSettings("SourceSchemas names no schema: give it at least one")
        for pattern in found.tables_left_out:
            _refuse_parts("SourceTablesLeftOut", pattern, 1, "table or schema.table")
        for pattern in found.columns_left_out:
            wanted = "table.column or schema.table.column"
            _refuse_parts("SourceColumnsLeftOut", pattern, 2, wanted)
        return found

    def name_of(self, schema: str, table: str) -> str:
        """Returns the name in the pipeline of a table."""
        return table if schema == self.schemas[0] else f"{schema}.{table}"

    def shared_names(self, tables: Iterable[tuple[str, str]]) -> dict[str, TableFailure]:
        """Returns the names in the pipeline that several tables have, and the failure of each.

        Args:
            tables: Schema and name of each table.
        """
        schemas: dict[str, list[str]] = {}
        for schema, table in tables:
            schemas.setdefault(self.name_of(schema, table), []).append(schema)
        return {
            name: TableFailure(
                f"tables of the schemas {' and '.join(sorted(owners))} have this name in the "
                "pipeline; leave out one of them by SourceTablesLeftOut, or rename it"
            )
            for name, owners in schemas.items()
            if len(owners) > 1
        }

    def leaves_out(self, name: str) -> bool:
        """Whether a table that was captured under a name is left out by a pattern now."""
        schema, dot, table = name.partition(".")
        return self.leaves_out_table(self.schemas[0], name) or bool(
            dot and schema in self.schemas and self.leaves_out_table(schema, table)
        )

    def lacks_schema_of(self, name: str) -> bool:
        """Whether a name can be that of a table of a schema that is not captured now."""
        schema, dot, _ = name.partition(".")
        return bool(dot) and schema not in self.schemas

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Fails if the source does not have a schema.

        Raises:
            InvalidSettings: A schema does not exist.
        """
        if unknown := [schema for schema in self.schemas if schema not in known]:
            raise InvalidSettings(
                f"SourceSchemas names {', '.join(unknown)}, which the source does not have: "
                "correct the parameter"
            )

    def unused(self, columns: Collection[tuple[str, str, str]]) -> Iterator[str]:
        """Yields a warning for each pattern that matches nothing: it may be misspelt.

        Args:
            columns: Schema, table and name of every column of the source.
        """
        for pattern in self.tables_left_out:
            used = any(_matches(pattern, *names[:2]) for names in columns)
            if not used and pattern not in Scope.tables_left_out:
                yield f"SourceTablesLeftOut has {pattern}, which matches no table"
        for pattern in self.columns_left_out:
            if not any(_matches(pattern, *names) for names in columns):
                yield f"SourceColumnsLeftOut has {pattern}, which matches no column"

    def leaves_out_table(self, schema: str, table: str) -> bool:
        """Whether a pattern leaves out a table."""
        return any(_matches(pattern, schema, table) for pattern in self.tables_left_out)

    def leaves_out_column(self, schema: str, table: str, column: str) -> bool:
        """Whether a pattern leaves out a column."""
        return any(_matches(pattern, schema, table, column) for pattern in self.columns_left_out)

    def refuse_needed(self, stars: Iterable[StarTable]) -> None:
        """Fails if a star table needs what is left out.

        Raises:
            InvalidSettings: A star table reads a table or a column that is left out.
        """
        schema = self.schemas[0]
        for star in stars:
            for source in star.sources:
                if self.leaves_out_table(schema, source):
                    raise InvalidSettings(
                        f"SourceTablesLeftOut leaves out {source}, which {star.name} reads: "
                        "change the parameter"
                    )
                # Without a pattern nothing is parsed: the parser takes 30 MB and 0.1 s.
                needed = _columns_needed(star, source) if self.columns_left_out else ()
                for column in sorted(needed):
                    if self.leaves_out_column(schema, source, column):
                        raise InvalidSettings(
                            f"SourceColumnsLeftOut leaves out {source}.{column}, which "
                            f"{star.name} needs: change the parameter"
                        )

    def refuse_key(self, schema: str, table: str, key: Iterable[str]) -> None:
        """Refuses a table of whose key a column is left out: deletions could not be told.

        Raises:
            TableFailure: A column is left out.
        """
        for column in key:
            if self.leaves_out_column(schema, table, column):
                raise TableFailure(
                    f"SourceColumnsLeftOut leaves out {schema}.{table}.{column}, which is part of "
                    "the table's key: change the parameter, or leave out the table"
                )


DEFAULT_SCOPE = Scope()
"""The schema `public` without the tables that the source's own tools keep."""


def _refuse_parts(parameter: str, pattern: str, least: int, wanted: str) -> None:
    if not least <= len(pattern.split(".")) <= least + 1 or "" in pattern.split("."):
        raise InvalidSettings(f"{parameter} has {pattern!r}, which is not {wanted}: correct it")


def _matches(pattern: str, *names: str) -> bool:
    parts = pattern.split(".")
    return all(map(fnmatchcase, names[-len(parts) :], parts))


def _columns_needed(star: StarTable, source: str) -> Collection[str]:
    """Returns the names that a star table's SELECT and its source's rules may mean by a column."""
    tree = sqlglot.parse_one(star.select, read="spark")
    aliases = {one.alias_or_name for one in tree.find_all(exp.Table) if one.name == source}
    needed = {
        column.name
        for column in tree.find_all(exp.Column)
        if not column.table or column.table in aliases
    }
    declaration = source_declaration(source)
    if declaration:
        needed.add(declaration.natural_key)
        for rule in declaration.rules.every:
            condition = sqlglot.parse_one(rule.condition, read="spark")
            needed |= {column.name for column in condition.find_all(exp.Column)}
    return needed
