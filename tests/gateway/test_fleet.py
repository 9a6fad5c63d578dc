"""How long a gateway believes what it heard of a device: less than a second, whatever is away."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pytest

from engine.catalogue import Once
from engine.fleet import Device, Sign
from engine.runtime.faults import JournalUnavailable
from gateway.devices import POLL_S, Fleet, Secrets
from gateway.problems import Problem

SECRETS = Secrets("s" * 32)


class FakeClock:
    def __init__(self) -> None:
        self.s = 100.0

    def now_ms(self) -> int:
        return round(self.s * 1000)

    def monotonic_s(self) -> float:
        return self.s

    async def sleep(self, seconds: float) -> None:
        self.s += seconds


class FakeBooks:
    def __init__(self) -> None:
        self.good = {"dev_a", "dev_b"}
        self.away = False
        self.asked = 0
        self.noted: dict[str, Sign] = {}

    async def allowed(self, device_ids: Sequence[str]) -> set[str]:
        if self.away:
            raise JournalUnavailable
        self.asked += 1
        return self.good & set(device_ids)

    async def note(self, signs: Mapping[str, Sign]) -> None:
        self.noted |= signs

    async def add(self, device: Device, code_digest: bytes, once: Once | None) -> Device:
        raise AssertionError

    async def enrol(
        self, code_digest: bytes, key: bytes | None, now: datetime, expires_at: datetime
    ) -> Device:
        raise AssertionError

    async def event_by_code(self, code_digest: bytes) -> str | None:
        raise AssertionError

    async def device(self, device_id: str) -> Device | None:
        raise AssertionError

    async def of_event(self, event_id: str, after: str, limit: int) -> list[Device]:
        raise AssertionError

    async def revoke(self, device_id: str, now: datetime) -> None:
        raise AssertionError


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def books() -> FakeBooks:
    return FakeBooks()


@pytest.fixture
def fleet(books: FakeBooks, clock: FakeClock) -> Fleet:
    return Fleet(books, SECRETS, clock)


async def test_who_is_known_costs_nothing_while_polls_succeed(
    fleet: Fleet, books: FakeBooks, clock: FakeClock
) -> None:
    await fleet.check("dev_a")
    for _ in range(20):
        clock.s += POLL_S
        await fleet.poll()
        before = books.asked
        await fleet.check("dev_a")
        assert books.asked == before


async def test_revoked_device_is_refused_at_the_next_poll(
    fleet: Fleet, books: FakeBooks, clock: FakeClock
) -> None:
    await fleet.check("dev_a")
    await fleet.check("dev_b")
    books.good = {"dev_b"}
    clock.s += POLL_S
    await fleet.poll()
    with pytest.raises(Problem) as refused:
        await fleet.check("dev_a")
    assert refused.value.status == 401
    assert fleet.allows("dev_b")


async def test_without_polls_it_is_refused_within_a_second_too(
    fleet: Fleet, books: FakeBooks, clock: FakeClock
) -> None:
    await fleet.check("dev_a")
    books.good = set()
    clock.s += 0.99
    assert not fleet.allows("dev_a")
    with pytest.raises(Problem):
        await fleet.check("dev_a")


async def test_while_the_database_is_away_nobody_is_believed_for_long(
    fleet: Fleet, books: FakeBooks, clock: FakeClock
) -> None:
    await fleet.check("dev_a")
    books.away = True
    clock.s += 0.99
    with pytest.raises(JournalUnavailable):
        await fleet.poll()
    with pytest.raises(JournalUnavailable):
        await fleet.check("dev_a")
    books.away = False
    await fleet.check("dev_a")


async def test_who_was_seen_is_written_down_and_what_it_told_of_itself(
    fleet: Fleet, books: FakeBooks, clock: FakeClock
) -> None:
    await fleet.check("dev_a")
    await fleet.check("dev_b")
    fleet.hear("dev_b", {"device-battery": "0.5", "device-queue": "12"})
    fleet.hear("dev_b", {"device-battery": "much", "device-clock": "1970-01-01T00:01:00Z"})
    await fleet.poll()
    assert books.noted.keys() == {"dev_a", "dev_b"}
    told = books.noted["dev_b"]
    assert (told.battery, told.queued, told.clock_offset_ms) == (0.5, 12, 40_000)


def test_codes_and_keys_are_of_one_device_and_event_and_of_this_secret() -> None:
    others = Secrets("t" * 32)
    codes = {SECRETS.code("dev_a"), SECRETS.code("dev_b"), others.code("dev_a")}
    assert len(codes) == 3
    assert SECRETS.code("dev_a") == SECRETS.code("dev_a")
    keys = {SECRETS.event_public_key(e) for e in ("evt_a", "evt_b")}
    assert len(keys | {others.event_public_key("evt_a")}) == 3
