"""Facts: a version for everything that a run saw of a row, and no other."""

import pytest

from glue_jobs.build.lake import LakeTable
from pipeline.errors import TableBuildFailed
from tests.integration.build.world import Business, Star

PAYMENT = "fact_payment"


def test_an_unchanged_delivery_adds_no_version(business: Business, star: Star) -> None:
    business.run()
    star.build(PAYMENT, "dim_staff", "dim_design")
    before = star.fact(PAYMENT)

    business.run(full_refresh=True)
    rows = star.build(PAYMENT, "dim_staff", "dim_design")

    assert business.runs == 2
    assert rows == {PAYMENT: 0, "dim_staff": 0, "dim_design": 0}
    assert star.fact(PAYMENT) == before


def test_a_value_that_comes_back_makes_a_third_version(business: Business, star: Star) -> None:
    for amount in (10, 20, 10):
        business.execute("update payment set payment_amount = %s where payment_id = 1", amount)
        business.run()
        star.build(PAYMENT)

    versions = star.history(PAYMENT, 1)

    assert [version["payment_amount"] for version in versions] == [10, 20, 10]
    assert [version["run_id"] for version in versions] == ["run-1", "run-2", "run-3"]
    assert star.differences(PAYMENT) == []


def test_a_silent_edit_makes_a_version(business: Business, star: Star) -> None:
    business.run()
    star.build("fact_sales_order")

    business.execute("update sales_order set staff_id = 21 - staff_id where sales_order_id = 1")
    business.run()

    assert star.build("fact_sales_order") == {"fact_sales_order": 1}
    first, second = star.history("fact_sales_order", 1)
    assert second["sales_staff_id"] == 21 - first["sales_staff_id"]
    assert second["last_updated_time"] == first["last_updated_time"]


def test_a_deleted_row_keeps_its_history_and_its_key_may_be_used_again(
    business: Business, star: Star
) -> None:
    business.run()
    star.build(PAYMENT)
    business.execute("create table kept as select * from payment where payment_id = 1")
    business.execute("delete from payment where payment_id = 1")
    business.run()
    star.build(PAYMENT)
    business.execute("insert into payment select * from kept")
    business.run()

    star.build(PAYMENT)

    first, gone, again = star.history(PAYMENT, 1)
    assert gone == first | {
        "payment_record_id": gone["payment_record_id"],
        "is_deleted": True,
        "run_id": "run-2",
    }
    assert again == gone | {
        "payment_record_id": again["payment_record_id"],
        "is_deleted": False,
        "run_id": "run-3",
    }


def test_a_table_that_is_emptied_leaves_every_row_deleted(business: Business, star: Star) -> None:
    business.run()
    star.build(PAYMENT)
    business.execute("delete from payment")
    business.run()

    star.build(PAYMENT)

    assert star.differences(PAYMENT) == []


def test_a_build_that_is_repeated_after_its_commit_adds_nothing(
    business: Business, star: Star
) -> None:
    business.run()
    star.build(PAYMENT, "dim_design")
    before = star.fact(PAYMENT)

    assert star.build(PAYMENT, "dim_design") == {PAYMENT: 0, "dim_design": 0}
    assert star.fact(PAYMENT) == before


def test_a_build_that_died_before_its_commit_is_made_up_for_exactly_once(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    business.run()
    star.build(PAYMENT)
    business.execute("update payment set payment_date = 'soon' where payment_id = 1")
    business.execute("update payment set payment_amount = 5 where payment_id = 2")
    business.run()
    append = LakeTable.append

    def die(table: LakeTable, *arguments: object) -> int:
        if table.name == PAYMENT:
            raise ConnectionError("the executor is gone")
        return append(table, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LakeTable, "append", die)
    with pytest.raises(TableBuildFailed, match="executor is gone"):
        star.build(PAYMENT)
    monkeypatch.undo()

    assert star.build(PAYMENT) == {PAYMENT: 1}
    assert star.differences(PAYMENT) == []
    assert [row["natural_key"] for row in star.rows("quarantine")] == ["1"]
