"""The page of a run: complete in itself, bounded, and safe to open whatever the data holds."""

import dataclasses
import html.parser
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambdas.publish.observing import Observation
from lambdas.publish.page.facts import PageFacts, page_facts
from lambdas.publish.page.render import MOST_LINES, render, size
from pipeline.answers import Failure, IngestAnswer, LoadAnswer
from pipeline.costs import Cost, StageCost
from pipeline.execution_history import Event
from pipeline.freshness import Freshness
from pipeline.object_store import StoredObject
from pipeline.requests import PublishRequest

BEGIN = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onclick='x' {{ 7 * 7 }} \u202e"
INGESTED = IngestAnswer(
    True, 7, True, 12_345, 1.5, 8192, 0.25, 2, report="reports/run-7/ingest.json"
)
LOADED = LoadAnswer(True, 7, 7, 4_321, report="reports/run-7/load.json")
REQUEST = PublishRequest("run-7", "arn", INGESTED, LOADED, through=7, publishes=True)
CERTIFIED = {
    "table": "fact_payment",
    "rows": 3,
    "versions": 4,
    "rows_quarantined": 0,
    "waiting": 1,
    "source": "1234",
    "star": "1234",
    "lake": "5678",
    "warehouse": "5678",
    "snapshot": 9,
    "last_key": 4,
}
OBJECTS = [
    StoredObject("star/fact_payment/data/a.parquet", BEGIN - timedelta(days=1), 2048),
    StoredObject("star/fact_payment/data/b.parquet", BEGIN + timedelta(seconds=5), 1024),
    StoredObject("star/dim_date/data/a.parquet", BEGIN - timedelta(days=1), 10),
]


def event(number: int, kind: str, seconds: float, **details: Any) -> dict[str, Any]:
    return {
        "id": number,
        "previousEventId": number - 1,
        "type": kind,
        "timestamp": BEGIN + timedelta(seconds=seconds),
        **details,
    }


def history(*, error: str = "SourceBusy") -> list[Event]:
    called = {"taskScheduledEventDetails": {"resourceType": "lambda"}}
    failed = {"taskFailedEventDetails": {"error": error, "cause": "a lock"}}
    return [
        event(1, "ExecutionStarted", 0),
        event(2, "TaskStateEntered", 0, stateEnteredEventDetails={"name": "Ingest"}),
        event(3, "TaskScheduled", 1, **called),
        event(4, "TaskFailed", 3, **failed),
        event(5, "TaskScheduled", 5, **called),
        event(6, "TaskSucceeded", 9, taskSucceededEventDetails={"output": "{}"}),
        event(7, "TaskStateExited", 10, stateExitedEventDetails={"name": "Ingest"}),
    ]


def reports(text: str = "", lines: int = 1) -> dict[str, dict[str, Any]]:
    table = {"table": f"payment{text}", "capture": "changes", "rows": 5, "not_held": 0}
    table |= {"seconds": 0.125}
    rule = {"table": "fact_payment", "rule": f"paid is given{text}", "rows": 2}
    return {
        "ingest": {
            "tables": [table | {"not_taken": ""}] * lines,
            "warnings": [f"a table is large{text}", f"table note is new{text}"] * lines,
            "schema_changes": [f"table note is new{text}"],
            "snapshot_at": "2026-11-21T07:00:01Z",
        },
        "load": {
            "tables": [
                {"table": "fact_payment", "inserted": 4_000, "updated": 0, "waiting": 1}
                | {"seconds": 0.25}
            ],
            "builds": {"fact_payment": {"rows": 4_001, "seconds": 6.5}},
            "quality": {"broken_rules": [rule] * lines},
            "certificate": {
                "verified_at": "2026-11-21T07:00:20Z",
                "snapshot_at": "2026-11-21T07:00:01Z",
                "tables": [CERTIFIED],
                "code": {"sha256": "ab" * 32, "function_version": "3"},
                "schema": {"0001_star_schema.sql": "cd"},
                "exceptions": [f"fact_payment: paid is given{text} (2)"],
            },
        },
    }


def facts(request: PublishRequest = REQUEST, *, text: str = "", lines: int = 1) -> PageFacts:
    cost = Cost(
        0.03, (StageCost("Ingest", {"lambda_request": 2}, 0.03),), "eu", "2026-10-01", False
    )
    freshness = Freshness(BEGIN, 75.0)
    observed = Observation(
        freshness, cost, history(error=f"SourceBusy{text}"), [f"a problem{text}"]
    )
    return page_facts(request, observed, reports(text, lines), OBJECTS)


class Reader(html.parser.HTMLParser):
    """Reads a page as a browser does, and keeps what matters."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def shown(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_a_page_leads_with_what_waits_and_shows_every_part() -> None:
    shown = Reader(render(facts())).shown

    parts = [
        "What failed or waits",
        "paid is given 2",
        "a table is large",
        "2026-11-21 07:00:00 UTC",
        "1 min 15 s",
        "$0.0300",
        "Timeline",
        "Ingest 1.0 s 8.0 1: SourceBusy",
        "Captured from the source",
        "payment changes 5 0.125 0",
        "Changes of the source's schema table note is new",
        "Built in the lake",
        "fact_payment 4,001 6.5",
        "Loaded into the warehouse",
        "fact_payment 4,000 0 1 0.25",
        "Certificate",
        "fact_payment 3 4 0 1 1234 5678",
        "Estimated cost",
        "Growth of the lake",
        "fact_payment 2 3.0 KiB 1 1.0 KiB",
        "all 3 3.0 KiB 1 1.0 KiB",
    ]
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)


def test_the_timeline_has_each_attempt_where_it_was() -> None:
    read = Reader(render(facts()))

    bars = [attributes for _, attributes in read.tags if "bar" in str(attributes.get("class"))]
    # Of 10 s: a failed attempt from 1 s to 3 s, and one from 5 s to 9 s.
    assert [(bar["class"], bar["style"]) for bar in bars] == [
        ("bar bad", "left:9.50%;width:19.00%"),
        ("bar", "left:47.50%;width:38.00%"),
    ]


def test_a_report_of_an_earlier_version_has_no_seconds() -> None:
    earlier = reports()
    del earlier["load"]["builds"]
    for stage in ("ingest", "load"):
        del earlier[stage]["tables"][0]["seconds"]

    shown = Reader(render(page_facts(REQUEST, Observation(), earlier, ()))).shown

    assert "payment changes 5 \N{EN DASH} 0" in shown
    assert "fact_payment 4,000 0 1 \N{EN DASH}" in shown


def test_a_failed_run_leads_with_its_failure() -> None:
    request = PublishRequest("run-8", "arn", through=7, failure="Ingest failed with SourceBusy. ")
    page = page_facts(request, Observation(history=history()), {}, ())

    shown = Reader(render(page)).shown

    assert page.status == "failed"
    assert shown.index("Ingest failed with SourceBusy") < shown.index("Timeline")
    assert "Ingest made no report" in shown
    assert "Load made no report" in shown
    assert "The lake has no files yet" in shown
    assert "Nothing failed" not in shown


def test_a_run_that_ended_with_a_failure_of_a_stage_is_failed() -> None:
    failed = dataclasses.replace(LOADED, failure=Failure("StarTablesBehind", "dim_date waits"))
    page = facts(dataclasses.replace(REQUEST, loaded=failed))

    assert page.status == "failed"
    assert "StarTablesBehind: dim_date waits" in Reader(render(page)).shown


def test_a_run_that_found_nothing_new_says_so_calmly() -> None:
    request = PublishRequest("run-9", "arn", INGESTED, through=7)
    page = page_facts(request, Observation(), {}, ())

    shown = Reader(render(page)).shown

    assert page.status == "nothing new"
    assert "Nothing failed, and nothing waits." in shown
    assert "Nothing was new, so nothing was loaded." in shown
    assert "The history of the execution could not be read." in shown
    assert "This run was not verified." in shown


def test_text_of_the_data_is_text_and_nothing_else() -> None:
    request = dataclasses.replace(REQUEST, run_id=HOSTILE, failure=HOSTILE)
    page = render(facts(request, text=HOSTILE))
    read = Reader(page)

    names = {tag for tag, _ in read.tags}
    assert not names & {"script", "img", "iframe", "link", "a", "form"}
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in read.shown
    assert r"{{ 7 * 7 }} \u202e" in read.shown
    assert "\u202e" not in page


def test_a_page_asks_for_nothing_from_anywhere() -> None:
    page = render(facts())
    read = Reader(page)

    assert not [a for _, a in read.tags if a.keys() & {"src", "href", "srcset", "action"}]
    assert "url(" not in page
    assert "@import" not in page
    (policy,) = (a["content"] for _, a in read.tags if a.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_tables_are_named_and_have_headers_with_a_scope() -> None:
    read = Reader(render(facts()))

    names = [tag for tag, _ in read.tags]
    assert names.count("table") == names.count("caption") > 5
    assert all("scope" in attributes for tag, attributes in read.tags if tag == "th")
    assert names.count("h1") == 1
    assert dict(read.tags)["html"]["lang"] == "en"


@pytest.mark.parametrize("text", ["\N{SNOWMAN}", "'", "\u202e"])
def test_a_page_of_ten_thousand_tables_and_long_texts_is_bounded(text: str) -> None:
    page = render(facts(text=text * 10_000, lines=10_000))

    assert len(page.encode()) <= 1_200_000
    assert f"{10_000 - MOST_LINES:,} more are in the report" in page


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (5 * 1024**4, "5,120.0 GiB")],
)
def test_sizes_are_in_the_unit_that_suits_them(count: int, text: str) -> None:
    assert size(count) == text
