"""Which of the server's errors pass, and which are a table's own."""

import pytest
from psycopg import errors

from lambdas.ingest.failures import Failures, table_failure
from pipeline.errors import SourceBusy


@pytest.mark.parametrize(
    ("code", "is_passing"),
    [
        ("55P03", True),
        ("57014", True),
        ("42P01", True),
        ("72000", True),
        ("XX000", True),
        ("XX001", False),
        ("22012", False),
        ("42501", False),
    ],
)
def test_an_error_that_may_pass_is_told_from_one_of_the_table(
    code: str, *, is_passing: bool
) -> None:
    assert table_failure(errors.lookup(code)("told")).is_passing is is_passing


@pytest.mark.parametrize(
    ("code", "said", "setting"),
    [
        ("72000", "snapshot too old", "increase old_snapshot_threshold"),
        ("40001", "conflict with recovery", "set hot_standby_feedback"),
    ],
)
def test_a_snapshot_that_the_server_lets_expire_is_told_with_its_setting(
    code: str, said: str, setting: str
) -> None:
    failure = table_failure(errors.lookup(code)(said))

    assert failure.reason.startswith(f"{code}: {said}; {setting}")
    assert failure.is_passing


def test_a_leaf_that_was_dropped_is_tried_again_before_its_table_is_not_taken() -> None:
    gone = errors.InternalError_("could not open relation with OID 4711")

    with pytest.raises(SourceBusy, match="sales"), Failures(is_last_attempt=False).of("sales"):
        raise gone
    last = Failures()
    with last.of("sales"):
        raise gone

    assert last.reasons["sales"].startswith("XX000: could not open relation with OID 4711")
