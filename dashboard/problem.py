"""Why a page, or a part of it, cannot be shown."""

from dataclasses import dataclass

import psycopg

from pipeline.errors import first_line


@dataclass(frozen=True)
class Problem:
    """Why something cannot be shown.

    Attributes:
        title: What is wrong, and what to do.
        reason: The error's own words.
    """

    title: str
    reason: str

    @classmethod
    def of_warehouse(cls, error: Exception) -> "Problem":
        """Returns what to say of an error of the warehouse."""
        titles: dict[type[Exception], str] = {
            psycopg.errors.QueryCanceled: "The warehouse took too long. Choose a shorter period",
            psycopg.errors.UndefinedTable: "This database has no warehouse, or one of an earlier "
            "version: deploy the stack and run it once",
            psycopg.errors.InsufficientPrivilege: "This role may not read the warehouse: grant it "
            "totesys_reporting",
            psycopg.OperationalError: "The warehouse cannot be reached",
        }
        title = next((text for kind, text in titles.items() if isinstance(error, kind)), "")
        return cls(title or "The warehouse refused a query", first_line(error))
