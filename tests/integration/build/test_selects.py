"""A SELECT that is no pure function of the raw zone is refused, and costs no other table."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pyspark.sql import SparkSession

from glue_jobs.build.raw_files import prepare
from glue_jobs.build.select_checks import check_select
from pipeline.errors import DeclarationInvalid, TableBuildFailed
from tests.integration.build.world import STARS, Business, Star, frame

TYPES = STARS["dim_payment_type"]
STAFF = STARS["dim_staff"]


@pytest.fixture(scope="module")
def session(spark: SparkSession) -> Iterator[SparkSession]:
    """A session with a few sources."""
    own = prepare(spark.newSession())
    sources = {
        "payment_type": "payment_type_id int, payment_type_name string, _sequence bigint",
        "staff": "staff_id int, first_name string, department_id int, _sequence bigint",
        "department": "department_id int, department_name string, _sequence bigint",
        "iso_4217": "code string, name string",
    }
    for name, schema in sources.items():
        frame(own, [], schema).createOrReplaceTempView(name)
    yield own
    for name in sources:
        own.catalog.dropTempView(name)


def selecting(what: str = "payment_type_name", rest: str = "", source: str = "payment_type") -> str:
    return f"select payment_type_id, {what} as name, _sequence from {source} {rest}"


@pytest.mark.parametrize(
    "select",
    [
        selecting("upper(payment_type_name)"),
        selecting(
            "/* a; b */ payment_type_name", "where payment_type_id > 0 -- c; d\n;\n-- end;\n"
        ),
        f"with types as ({selecting()}) select * from types where name is not null",
        selecting("iso_4217.name", "left join iso_4217 on code = payment_type_name"),
        selecting("`payment_type_name`", "order by payment_type_id"),
        selecting("transform(array(1, 2), one -> one + payment_type_id)"),
    ],
)
def test_a_select_of_one_row_at_a_time_is_taken(session: SparkSession, select: str) -> None:
    check_select(session.sql(select), TYPES)


@pytest.mark.parametrize(
    "value",
    [
        "rand()",
        "rand(7)",
        "uuid()",
        "monotonically_increasing_id()",
        "current_timestamp",
        "now()",
        "current_date()",
        "date_format(now(), 'y')",
        "current_user()",
        "(select max(payment_type_id) from payment_type where rand() > 0.5)",
    ],
)
def test_a_value_of_the_moment_is_refused(session: SparkSession, value: str) -> None:
    with pytest.raises(DeclarationInvalid, match=r"dim_payment_type\.sql has a function whose res"):
        check_select(session.sql(selecting(value)), TYPES)
    with pytest.raises(DeclarationInvalid, match=r"dim_staff\.sql has a function whose result"):
        check_select(session.sql(f"select staff_id, {value} as name from staff"), STAFF)


@pytest.mark.parametrize(
    ("select", "found"),
    [
        (selecting(rest="limit 5"), "a limit"),
        (selecting(rest="order by 1 offset 5"), "an offset"),
        (f"select * from ({selecting(rest='limit 5')})", "a limit"),
        (selecting(source="payment_type tablesample (5 rows)"), "a limit"),
        (selecting("count(*) over ()"), "a window function"),
        (selecting("count(*)", "group by payment_type_id, _sequence"), "an aggregate function"),
        (f"with one as ({selecting('max(1)', 'group by all')}) select * from one", "an aggregate"),
        (selecting("(select count(*) from payment_type)"), "an aggregate function"),
        (selecting("explode(array('a', 'b'))"), "a function that makes several rows"),
        (f"{selecting()} union all {selecting()}", "more than one reference"),
        (
            selecting(rest="where exists (select 1 from payment_type b where b._sequence = 1)"),
            "more than one reference",
        ),
    ],
)
def test_a_select_that_looks_beyond_a_row_is_refused(
    session: SparkSession, select: str, found: str
) -> None:
    with pytest.raises(DeclarationInvalid, match=rf"dim_payment_type\.sql has {found}"):
        check_select(session.sql(select), TYPES)


def test_a_select_of_whole_states_may_compare_rows_and_not_choose_some_by_chance(
    session: SparkSession,
) -> None:
    counted = (
        "select staff_id, count(*) over (partition by department_id, _sequence) as peers, "
        "_sequence from staff"
    )
    check_select(session.sql(counted), STAFF)

    with pytest.raises(DeclarationInvalid, match=r"dim_staff\.sql has a limit"):
        check_select(session.sql(f"{counted} limit 1"), STAFF)


def test_a_join_of_changed_rows_alone_is_refused(session: SparkSession) -> None:
    with pytest.raises(DeclarationInvalid, match="list them in joined_sources"):
        check_select(
            session.sql(
                "select staff_id, department_name, staff._sequence from staff "
                "join department using (department_id)"
            ),
            replace(STAFF, joined_sources=()),
        )


def test_a_refused_select_costs_no_other_table(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    business.run()
    select = TYPES.select.replace("payment_type_name,", "uuid() as payment_type_name,")
    monkeypatch.setitem(STARS, TYPES.name, replace(TYPES, select=select))

    with pytest.raises(TableBuildFailed, match=r"1 of 2 .*\(dim_payment_type: DeclarationIn"):
        star.build(TYPES.name, "dim_currency")

    assert star.rows(TYPES.name) == []
    assert star.differences("dim_currency") == []
