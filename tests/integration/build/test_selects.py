"""A SELECT that is no pure function of the raw zone is refused, and costs no other table."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from glue_jobs.build.raw_files import prepare
from glue_jobs.build.select_checks import check_columns, check_select
from pipeline.errors import DeclarationInvalid, SourceSchemaChanged, TableBuildFailed
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
    "value",
    [
        "cast('now' as timestamp)",
        "try_cast(' Today ' as date)",
        "cast('to' || 'day' as date)",
        "coalesce(try_cast(payment_type_name as date), 'yesterday')",
        "to_date('tomorrow')",
        "date_add('today', datediff('epoch', date '1970-01-01'))",
        "make_date(year('now'::timestamp), 1, datediff('epoch', date '1970-01-01'))",
        "(select min(timestamp('now')) from payment_type)",
        "timestamp 'now'",
        "DATE'today UTC'",
        "timestamp_ntz /* ! */ 'now'",
        "version()",
        "`version` ()",
        "aes_encrypt(payment_type_name, '0000111122223333')",
    ],
)
def test_a_value_of_the_moment_that_spark_takes_for_a_constant_is_refused(
    session: SparkSession, value: str
) -> None:
    select = selecting(value)
    with pytest.raises(DeclarationInvalid, match=r"dim_payment_type\.sql has a function whose res"):
        check_select(session.sql(select), replace(TYPES, select=select))


@pytest.mark.parametrize(
    "value",
    [
        "payment_type_name = 'today'",
        "cast('2020-01-01' as date) < date'2020-01-02'",
        "coalesce(try_cast(payment_type_name as date), cast(' Epoch' as date))",
        "'version ()' -- now: version()\n",
        "(select 'date ' || 'now')",
    ],
)
def test_a_text_that_means_nothing_of_the_moment_is_taken(
    session: SparkSession, value: str
) -> None:
    select = selecting(value)
    check_select(session.sql(select), replace(TYPES, select=select))


@pytest.mark.parametrize(
    "join",
    [
        "left join {file} on value = payment_type_name",
        "where payment_type_name in (select value from {file})",
        "where exists (with these as (select value from {file}) select * from these)",
        "where payment_type_name in (select department_name from department)",
        "left join own.staff on first_name = payment_type_name",
        "where payment_type_name in (select payment_type_name from global_temp.payment_type)",
    ],
)
def test_a_select_that_reads_another_table_is_refused(
    session: SparkSession, tmp_path: Path, join: str
) -> None:
    table = frame(session, [("a",)], "value string")
    table.write.parquet(f"file://{tmp_path}/rows")
    session.table("payment_type").createOrReplaceGlobalTempView("payment_type")
    session.sql("create database if not exists own")
    session.sql("create or replace view own.staff as select 'a' as first_name")
    text = join.format(file=f"parquet.`file://{tmp_path}/rows`")
    try:
        with pytest.raises(
            DeclarationInvalid, match=r"dim_payment_type\.sql has a table that is none of its sou"
        ):
            check_select(session.sql(selecting("1", text)), TYPES)
    finally:
        session.catalog.dropGlobalTempView("payment_type")
        session.sql("drop database own cascade")


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
        (selecting().replace("_sequence", "0 as _sequence"), "a _sequence of its own"),
        (selecting().replace("_id,", "_id % 2 as payment_type_id,"), "a payment_type_id that is"),
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


def of_staff(what: str = "first_name", rest: str = "", sequence: str = "staff._sequence") -> str:
    return f"select staff.staff_id, {what} as name, {sequence} from staff {rest}"


SAME_RUN = "department._sequence = staff._sequence"
JOINED = f"join department on department.department_id = staff.department_id and {SAME_RUN}"


@pytest.mark.parametrize(
    "select",
    [
        of_staff("department_name", JOINED),
        of_staff("department_name", f"left {JOINED}"),
        of_staff("department_name", f"{JOINED} left join iso_4217 on code = first_name"),
        of_staff("department_name", "join department using (department_id, _sequence)"),
        of_staff("count(*) over (partition by department_id, _sequence)"),
        of_staff("count(*)", f"{JOINED} group by staff.staff_id, staff._sequence"),
        of_staff(f"(select max(department_name) from department where {SAME_RUN})"),
        of_staff(rest=f"where exists (select 1 from department where {SAME_RUN})"),
        of_staff(
            rest="where (department_id, _sequence) in "
            "(select department_id, _sequence from department)"
        ),
        of_staff(rest="where department_id in (select code from iso_4217)"),
        of_staff(
            "peers",
            "join (select department_id, _sequence run, count(*) peers from staff group by all) "
            "as counted on counted.department_id = staff.department_id and run = staff._sequence",
        ),
        of_staff(
            "named",
            f", lateral (select max(department_name) named from department where {SAME_RUN})",
        ),
        "with named as (select department_id as id, _sequence as run from department) "
        + of_staff("a.id", "join named a on run = _sequence join named b using (run)"),
        f"select distinct * from ({of_staff()}) except {of_staff(rest='where staff_id = 1')}",
        of_staff("part", "lateral view explode(split(first_name, ' ')) as part"),
        f"{of_staff()} where department_id = 1 union all {of_staff()} where department_id = 2",
    ],
)
def test_a_select_may_look_at_all_rows_of_a_run(session: SparkSession, select: str) -> None:
    check_select(session.sql(select), STAFF)


@pytest.mark.parametrize(
    ("select", "found"),
    [
        (of_staff(rest="join department using (department_id)"), "a join of several runs"),
        (of_staff(rest="join department"), "a join of several runs"),
        (of_staff(rest=f"join department where {SAME_RUN}"), "a join of several runs"),
        (of_staff(rest=f"left join department on {SAME_RUN} or true"), "a join of several runs"),
        (of_staff("count(*) over (partition by department_id)"), "a window of several runs"),
        (of_staff("max(first_name)", "group by 1", "max(_sequence) _sequence"), "an aggregate of"),
        (of_staff("(select count(*) from department)"), "an aggregate of several runs"),
        (of_staff("(select first_name from department)"), "a subquery of several runs"),
        (
            of_staff(rest="where department_id in (select department_id from department)"),
            "a subquery of several runs",
        ),
        (
            of_staff(
                rest="where not exists (select 1 from department where department_name is null)"
            ),
            "a subquery of several runs",
        ),
        (
            of_staff("peers", "join (select count(*) as peers from staff group by department_id)"),
            "an aggregate of several runs",
        ),
        (f"with one as (select max(1) from staff) {of_staff('1', 'join one')}", "an aggregate of"),
        (of_staff(sequence="staff._sequence + 1 as _sequence"), "a _sequence of its own"),
        (of_staff(sequence="1L as _sequence"), "a _sequence of its own"),
        (f"{of_staff()} union all select 0, 'unknown', 1", "a _sequence of its own"),
        (
            of_staff(rest=f"full {JOINED}"),
            "a _sequence of its own",
        ),
        (
            "select department_id as staff_id, '' as name, _sequence from department",
            "a staff_id that is not the staff_id of staff",
        ),
        (
            of_staff(rest=f"right {JOINED}", sequence="department._sequence"),
            "a staff_id that is not the staff_id of staff",
        ),
        (
            of_staff(rest="right join iso_4217 on code = first_name"),
            "a staff_id that is not the staff_id of staff",
        ),
        (
            of_staff(rest=f"left {JOINED}", sequence="department._sequence"),
            "a _sequence of its own",
        ),
        (
            of_staff(rest="group by rollup(staff_id, first_name, _sequence)"),
            "an aggregate of several runs",
        ),
        (
            of_staff(rest="where _sequence = (select max(_sequence) from staff)"),
            "an aggregate of several runs",
        ),
        (
            of_staff(rest=f"where exists (select 1 from department where {SAME_RUN} or true)"),
            "a subquery of several runs",
        ),
        (
            of_staff("named", ", lateral (select department_name as named from department)"),
            "a subquery of several runs",
        ),
        (
            f"{of_staff()} union all select department_id, '', _sequence from department",
            "a staff_id that is not the staff_id of staff",
        ),
        (
            "select nullif(staff_id, 1) as staff_id, '' as name, _sequence from staff",
            "a staff_id that is not the staff_id of staff",
        ),
    ],
)
def test_a_select_that_mixes_runs_or_keys_is_refused(
    session: SparkSession, select: str, found: str
) -> None:
    with pytest.raises(DeclarationInvalid, match=rf"dim_staff\.sql has {found}"):
        check_select(session.sql(select), STAFF)


GROUPED = "(select {} from staff as other where other._sequence = staff._sequence)"


@pytest.mark.parametrize(
    "value",
    [
        "first(first_name)",
        "any_value(first_name)",
        "last_value(first_name)",
        "upper(listagg(first_name, ','))",
        "array_join(collect_list(first_name), ',')",
        "array_join(array_agg(first_name), ',')",
        "array_join(collect_set(first_name), ',')",
        "array_join(array_sort(collect_list(first_name), (a, b) -> length(a) - length(b)), ',')",
        "mode(first_name)",
        "percentile_approx(department_id, 0.5)",
        "max_by(first_name, department_id)",
        "min_by(first_name, struct(department_id, upper(first_name)))",
        "string_agg(first_name, ',') within group (order by department_id)",
        "sum(cast(department_id as float))",
        "round(avg(double(department_id)), 2)",
        "stddev(department_id)",
        "regr_sxx(department_id, staff_id)",
        "hll_sketch_estimate(hll_sketch_agg(first_name))",
    ],
)
def test_an_aggregate_of_rows_in_any_order_is_refused(session: SparkSession, value: str) -> None:
    with pytest.raises(
        DeclarationInvalid, match=r"dim_staff\.sql has an aggregate function of rows"
    ):
        check_select(session.sql(of_staff(GROUPED.format(value))), STAFF)


@pytest.mark.parametrize(
    "value",
    [
        "array_join(sort_array(collect_set(first_name)), ',')",
        "array_join(array_sort(collect_list(first_name)), ',')",
        "string_agg(first_name, ',') within group (order by first_name)",
        "max(first_name)",
        "mode() within group (order by first_name)",
        "max_by(first_name, (department_id, first_name))",
        "min_by(department_id, staff_id)",
        "string_agg(first_name, ',') within group (order by department_id, first_name desc)",
        "sum(department_id) + avg(decimal(department_id))",
        "percentile(department_id, 0.5)",
    ],
)
def test_an_aggregate_of_ordered_rows_is_taken(session: SparkSession, value: str) -> None:
    check_select(session.sql(of_staff(GROUPED.format(value))), STAFF)


PARTS = "partition by department_id, staff._sequence"


@pytest.mark.parametrize(
    "value",
    [
        "row_number() over ({parts} order by first_name)",
        "lag(first_name) over ({parts} order by length(first_name), staff_id % 2)",
        "ntile(2) over ({parts} order by first_name desc)",
        "nth_value(first_name, 2) over ({parts} order by department_id)",
        "first_value(first_name) over ({parts})",
        "array_join(collect_list(first_name) over ({parts} order by first_name), ',')",
        "count(*) over ({parts} order by first_name rows unbounded preceding)",
        "avg(float(staff_id)) over ({parts} order by staff_id)",
        "max_by(first_name, department_id) over ({parts})",
    ],
)
def test_a_window_of_rows_in_any_order_is_refused(session: SparkSession, value: str) -> None:
    with pytest.raises(DeclarationInvalid, match=r"dim_staff\.sql has a window function of rows"):
        check_select(session.sql(of_staff(value.format(parts=PARTS))), STAFF)


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        ("row_number() over ({parts} order by first_name, staff_id)", ""),
        ("lead(first_name) over ({parts} order by staff_id desc)", ""),
        ("first_value(first_name) over ({parts} order by first_name, staff.staff_id)", JOINED),
        ("row_number() over ({parts} order by staff.staff_id)", f"left {JOINED}"),
        ("rank() over ({parts} order by first_name)", ""),
        ("max(first_name) over ({parts})", ""),
        ("sum(staff_id) over ({parts} order by first_name)", ""),
        ("count(*) over ({parts} rows between unbounded preceding and unbounded following)", ""),
        ("max_by(first_name, staff_id) over ({parts})", ""),
    ],
)
def test_a_window_of_ordered_rows_is_taken(session: SparkSession, value: str, rest: str) -> None:
    parts = PARTS.replace("department_id", "staff.department_id")
    check_select(session.sql(of_staff(value.format(parts=parts), rest)), STAFF)


@pytest.mark.parametrize(
    ("order", "is_sound"),
    [
        ("staff_id", False),
        ("staff_id, other_id", True),
        ("named, staff_id", False),
        ("named, other_id, staff_id desc", True),
    ],
)
def test_the_order_of_a_window_is_followed_through_the_plan(
    session: SparkSession, order: str, is_sound: bool
) -> None:
    """Each row of staff has as many rows as its department has staff."""
    select = (
        "with pairs as (select a.staff_id, b.staff_id as other_id, upper(a.first_name) as named, "
        "a._sequence from staff a join staff b "
        "on a.department_id = b.department_id and a._sequence = b._sequence), "
        "counted as (select *, row_number() over (partition by _sequence order by "
        f"{order}) as number from pairs) "
        "select staff_id, string(min(number)) as name, _sequence from counted group by all"
    )

    if is_sound:
        check_select(session.sql(select), STAFF)
    else:
        with pytest.raises(DeclarationInvalid, match="in any order, row_number"):
            check_select(session.sql(select), STAFF)


def test_a_select_of_whole_states_may_not_choose_some_by_chance(session: SparkSession) -> None:
    with pytest.raises(DeclarationInvalid, match=r"dim_staff\.sql has a limit"):
        check_select(session.sql(of_staff(rest="limit 1")), STAFF)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("payment_type_id, payment_type_name", r"\.sql has no _sequence"),
        (
            "payment_type_id, payment_type_name, payment_type_name, _sequence",
            r"\.sql has payment_type_name more than once",
        ),
    ],
)
def test_a_select_without_a_column_of_each_name_is_refused(
    session: SparkSession, columns: str, said: str
) -> None:
    with pytest.raises(DeclarationInvalid, match=said):
        check_columns(session.sql(f"select {columns} from payment_type"), TYPES)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("*, 1 as more", "more is absent in .*toml and int in"),
        ("payment_type_id, _sequence", "payment_type_name is string in .*toml and absent in"),
        (
            "cast(payment_type_id as tinyint) as payment_type_id, payment_type_name, _sequence",
            "payment_type_id is int in .*toml and tinyint in",
        ),
        (
            "payment_type_id, map('a', payment_type_name) as payment_type_name, _sequence",
            "payment_type_name is string in .*toml and map<string,string> in",
        ),
    ],
)
def test_a_select_with_other_columns_than_were_declared_is_refused(
    session: SparkSession, columns: str, said: str
) -> None:
    with pytest.raises(SourceSchemaChanged, match=said):
        check_columns(session.sql(f"select {columns} from payment_type"), TYPES)


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


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("my_function(payment_type_name) as payment_type_name,", "DeclarationInvalid"),
        ("payment_type_name from", "DeclarationInvalid"),
        ("(select 1 from nowhere) as payment_type_name,", "DeclarationInvalid"),
        ("upper(payment_type_name, 1) as payment_type_name,", "DeclarationInvalid"),
        ("payment_type_title as payment_type_name,", "SourceSchemaChanged"),
    ],
)
def test_a_select_that_is_none_is_told_from_a_source_that_lost_a_column(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch, wrong: str, error: str
) -> None:
    business.run()
    select = TYPES.select.replace("payment_type_name,", wrong)
    monkeypatch.setitem(STARS, TYPES.name, replace(TYPES, select=select))

    with pytest.raises(TableBuildFailed, match=rf"dim_payment_type: {error}: dim_payment_type"):
        star.build(TYPES.name)
