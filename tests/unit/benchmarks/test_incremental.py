"""The incremental part is told in a table."""

from benchmarks.ingest.incremental import Step, steps_table


def test_each_step_says_what_it_cost() -> None:
    text = steps_table([Step(None, 5_000, 1.5, 2_000_000_000), Step(200, 200, 0.25, 0)])

    assert text.splitlines() == [
        "ingest after       wall s  rows taken  MB read at the source",
        "nothing before it    1.50       5,000                2,000.0",
        "200 changed rows     0.25         200                    0.0",
    ]
