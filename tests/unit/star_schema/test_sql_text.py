"""What a statement says, without its comments and whatever its lines are."""

from dataclasses import replace

import pytest

from star_schema.sql_text import without_comments, without_literals, words
from star_schema.tables import star_table

SELECT = r"""select `a -- b`, 'it\'s  /* one */' as "x  y", r'\' from t"""


@pytest.mark.parametrize(
    "text",
    [
        SELECT,
        f"-- Its names\n{SELECT} -- it's the end",
        f"/* of\n'today */{SELECT}\n/**/\n",
        SELECT.replace("from", "\n\tfrom /*+ broadcast(t) */"),
        SELECT.replace("from", "-- one \\\n two\n from"),
    ],
)
def test_comments_and_line_breaks_are_nothing_that_a_statement_says(text: str) -> None:
    assert without_comments(text) == SELECT
    assert words(text)[-2:] == ("from", "t")


@pytest.mark.parametrize(
    "other",
    [
        SELECT.replace("one", "two"),
        SELECT.replace("'s  /", "'s /"),
        SELECT.replace("x  y", "x y"),
        SELECT.replace("a --", "a  --"),
        SELECT.replace(r"r'\'", r"r'\ '"),
    ],
)
def test_blanks_and_signs_of_comments_in_a_literal_or_a_name_are_said(other: str) -> None:
    assert words(other) != words(SELECT)


def test_a_digest_is_of_what_the_select_says() -> None:
    star = star_table("dim_staff")
    commented = replace(star, select=f"-- Of today\n{star.select}/* End */")
    spaced = replace(star, select=star.select.replace("select", "select ' ' as a,"))
    wider = replace(star, select=spaced.select.replace("' '", "'  '"))

    assert commented.digest == star.digest
    assert len({star.digest, spaced.digest, wider.digest}) == 3


def test_a_literal_has_no_function() -> None:
    assert without_literals("""select 'version(' || "it's"/* now() */, rand()""") == (
        "select '' || '' , rand()"
    )
