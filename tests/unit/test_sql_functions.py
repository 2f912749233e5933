"""Statements call the server's functions, whatever functions others have in the search path.

PostgreSQL calls the function whose arguments fit best, of any schema in the search path. Of two
that fit alike, it calls that of the first schema, which is pg_catalog (PostgreSQL documentation,
"Function Type Resolution"). So a statement names pg_catalog where it calls one with arguments.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.template import ROOT

FOLDERS: Final = ("dashboard", "doctor", "lambdas", "lineage", "pipeline")
# A call without arguments fits exactly, and so does count(*).
CALL: Final = re.compile(r"(?<![\w.\"%])(?P<name>[a-z_]\w*)\s?\((?!\s*\)|\*\))")
DEFINED: Final = re.compile(
    r"\b(?:as|insert into|recursive|references|table|with) (\w+) \("
    r"|\b(\w+) (?:\([\w, ]+\) )?as (?:materialized )?\("
)
"""Names before a list of columns, or before a query."""
SYNTAX: Final = re.compile(
    "all|and|any|array|as|bit|by|coalesce|conflict|copy|definition|else|except|exists|extract"
    "|filter|from|greatest|in|join|key|lateral|least|materialized|not|nullif|numeric|on|or|over"
    "|position|row|rows|select|set|sets|stdin|stdout|then|timestamp|using|values|when|where"
)
IS_SQL: Final = re.compile(
    r"\b(?:select|insert|delete|update|where|values|case|alter)\b|::|\{\w*\}"
)
OF_DUCKDB: Final = {
    "lambdas/ingest/raw_types.py": {"decimal", "try_cast"},
    "lambdas/ingest/selection.py": {"string_split", "unnest"},
    "lambdas/ingest/source_reader.py": {"source"},
    "lambdas/ingest/star_selects.py": {"exclude", "replace"},
    "lineage/star_rows.py": {"columns", "lower"},
}
"""Calls in statements for DuckDB, which has no schemas of others."""
TO_BE_COPIED: Final = frozenset({"pg_drop_replication_slot", "pg_terminate_backend"})
"""Calls in statements that a message tells a person to run."""


def calls(statement: str) -> set[str]:
    """Returns the functions that a statement calls with arguments, without naming their schema."""
    defined = {name for names in DEFINED.findall(statement) for name in names}
    called = {match["name"] for match in CALL.finditer(statement)} - defined
    return {name for name in called if not SYNTAX.fullmatch(name)}


def statements(path: Path) -> Iterator[str]:
    """Yields the statements of a file, and parts of such."""
    text = path.read_text()
    if path.suffix == ".sql":
        yield text
        return
    for node in ast.walk(ast.parse(text)):
        # Other texts than docstrings, which are statements by themselves.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = None
        elif isinstance(node, ast.Constant) and IS_SQL.search(str(node.value)):
            yield str(node.value)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_statement_names_the_schema_of_each_function_that_it_calls_with_arguments(
    folder: str,
) -> None:
    files = [
        path
        for path in (ROOT / folder).rglob("*")
        # A migration never changes, and runs once.
        if path.suffix in (".py", ".sql") and path.parent.name != "migrations"
    ]

    found = {
        name: called
        for path in files
        for name in [str(path.relative_to(ROOT))]
        if (called := {one for text in statements(path) for one in calls(text)})
        - OF_DUCKDB.get(name, set())
        - TO_BE_COPIED
    }

    assert files
    assert found == {}


@pytest.mark.parametrize(
    ("statement", "called"),
    [
        ("select count(distinct key) from wanted", {"count"}),
        ("select count(*), now(), pg_catalog.max(x) from a", set()),
        ("select coalesce(sum(x) filter (where y), 0)", {"sum"}),
        ("with a (x) as materialized (select 1), b as (select min({}) from a) table b", {"min"}),
        ("insert into a (x) values (lower(%s)) on conflict (x) do nothing", {"lower"}),
        ("select from unnest(%s::text[]) as b (x) join c using (x)", {"unnest"}),
        ("case when x in (1, 2) then length(y) end", {"length"}),
    ],
)
def test_a_call_that_may_be_of_others_is_found(statement: str, called: set[str]) -> None:
    assert calls(statement) == called
