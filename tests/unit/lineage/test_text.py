"""A trace as people and tools read it."""

import datetime
import json
import sys
from decimal import Decimal

import pytest

from lineage import __main__ as command
from lineage.lake_history import LakeSnapshot
from lineage.places import places
from lineage.raw_history import RawRow
from lineage.text import lines
from lineage.trace import HELD_BACK, Referenced, Step, Trace
from lineage.values import text_of
from lineage.warehouse_history import Load, WaitingRow
from pipeline.errors import InvalidSettings

AT = datetime.datetime(2026, 1, 31, 9, 30, tzinfo=datetime.UTC)
LIFE = Trace(
    "fact_payment",
    "payment_id",
    "123",
    steps=[
        Step(
            1,
            "inserted",
            run_id="first",
            snapshot_at="2026-01-31T09:29:00Z",
            content={"paid": "false", "note": None},
            raw=RawRow("raw/payment/1.parquet", 7),
            capture="whole",
            again_in=[2, 3, 4, 5, 6, 7],
            record_id="41",
            snapshot=LakeSnapshot(9, 1_769_851_800_000, is_first=False),
            load=Load(2, "second", AT),
            waited=("dim_transaction 5, which came with run 2",),
        ),
        Step(3, HELD_BACK, reasons=("it breaks the rule: paid is given",)),
        Step(4, "deleted", keys=("raw_keys/payment/4.parquet",), capture="changes"),
        Step(
            5,
            "returned",
            changes={"paid": ("false", "tr\x1bue")},
            waiting=WaitingRow(("dim_date has no date_id 2030-01-01",), AT, AT, 1),
            remarks=["the warehouse does not have this version"],
        ),
    ],
    references=[Referenced("currency_id", "dim_currency", "1", "present")],
    source_now="the source has the row",
    equals_source=False,
    differences={"paid": ("false", "true")},
    not_reached={"lake": "no right"},
)


def test_a_life_is_told_run_by_run() -> None:
    assert list(lines(LIFE)) == [
        "fact_payment, payment_id 123: 3 versions",
        "  source now  the source has the row, and the warehouse does not show that: "
        "paid is true, in the warehouse false",
        "  not reached lake: no right",
        "",
        "run 1: inserted, the source at 2026-01-31T09:29:00Z, execution first",
        "  content     paid false, note null",
        "  raw         raw/payment/1.parquet, row 7 (whole); again in runs 2, 3, 4, 5, 6 "
        "and 1 more",
        "  lake        record 41, snapshot 9 of 2026-01-31 09:30:00+00:00, "
        "or an earlier one that has expired",
        "  waited for  dim_transaction 5, which came with run 2",
        "  warehouse   shown at 2026-01-31 09:30:00+00:00 by the load of run 2",
        "",
        "run 3: held back, execution ",
        "  reason      it breaks the rule: paid is given",
        "",
        "run 4: deleted, execution ",
        "  raw         no such key in the changes capture: raw_keys/payment/4.parquet",
        "",
        "run 5: returned, execution ",
        "  change      paid: false -> 'tr\\x1bue'",
        "  waits       since 2026-01-31 09:30:00+00:00, 1 attempt: "
        "dim_date has no date_id 2030-01-01",
        "  note        the warehouse does not have this version",
        "",
        "the current version refers to",
        "              dim_currency 1 (currency_id), present in the warehouse",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, "true"),
        (Decimal("100.5000000000"), "100.5"),
        (Decimal("1E+2"), "100"),
        (Decimal("0.00"), "0"),
        (Decimal("1234567890123456789012345678.900010"), "1234567890123456789012345678.90001"),
        (datetime.time(9, 30), "09:30:00.000000"),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (7, "7"),
    ],
)
def test_values_of_all_parts_have_one_text(value: object, text: str | None) -> None:
    assert text_of(value) == text


def test_the_command_prints_one_json_object_and_fails_for_a_row_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lives = {"123": LIFE, "9": Trace("fact_payment", "payment_id", "9")}
    monkeypatch.setattr(command, "places", lambda environment: environment)
    monkeypatch.setattr(command, "trace", lambda table, key, parts: lives[key])

    monkeypatch.setattr(sys, "argv", ["lineage", "fact_payment", "123", "--json"])
    assert command.main() == 0
    document = json.loads(capsys.readouterr().out)
    assert document["steps"][0]["load"]["loaded_at"] == AT.isoformat()

    monkeypatch.setattr(sys, "argv", ["lineage", "fact_payment", "9"])
    assert command.main() == 1
    assert "0 versions" in capsys.readouterr().out


def test_an_environment_that_samconfig_does_not_have_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidSettings, match="no environment nowhere"):
        places("nowhere")
    monkeypatch.setattr(sys, "argv", ["lineage", "fact_payment", "1", "--env", "nowhere"])
    assert command.main() == 1
    assert "no environment nowhere" in capsys.readouterr().err
