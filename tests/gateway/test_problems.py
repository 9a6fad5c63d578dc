"""One table from reason to status, and it is whole."""

import msgspec

from engine.rejections import Reason, Rejection
from gateway.problems import STATUS, rejected


def test_every_reason_has_its_status() -> None:
    assert set(STATUS) == set(Reason)


def test_the_facts_of_a_case_leave_the_status_of_the_answer_alone() -> None:
    refusal = Rejection(Reason.ORDER_NOT_PENDING, {"status": "REFUNDED"})
    body = rejected(refusal).body
    assert isinstance(body, bytes)
    shown = msgspec.json.decode(body)
    assert (shown["status"], shown["current_status"]) == (409, "REFUNDED")
