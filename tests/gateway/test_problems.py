"""One table from reason to status, and it is whole."""

from engine.rejections import Reason
from gateway.problems import STATUS


def test_every_reason_has_its_status() -> None:
    assert set(STATUS) == set(Reason)
