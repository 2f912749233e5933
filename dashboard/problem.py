"""Why a page, or a part of it, cannot be shown."""

from dataclasses import dataclass

import psycopg

from pipeline.errors import DatabaseRefused, PipelineError, WarehouseUnavailable, first_line


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
            "totesys_reporting, and BYPASSRLS if a policy hides rows from it",
            DatabaseRefused: "The warehouse refused the connection",
            WarehouseUnavailable: "The warehouse cannot be reached",
            psycopg.OperationalError: "The warehouse cannot be reached",
            PipelineError: "The warehouse cannot be read",
        }
        title = next((text for kind, text in titles.items() if isinstance(error, kind)), "")
        return cls(title or "The warehouse refused a query", first_line(error))

    @classmethod
    def unexpected(cls, error: Exception) -> "Problem":
        """Returns what to say of an error that no part of a page expects."""
        return cls(
            "This page has failed. The terminal of `make dashboard` has the details",
            f"{type(error).__name__}: {first_line(error)}",
        )
