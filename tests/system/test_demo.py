"""The demo from outside, and its audit: it must find what is wrong, not only say all is well."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from engine import facts as f
from engine import ids
from engine.commands import EventTerms, Key, TierTerms
from loadtests import promises
from loadtests.audit import against_clients
from loadtests.client import Answer, MalformedAnswer, parse
from loadtests.ledger import Ledger
from loadtests.seen import OrderKey, ScanKey, Seen
from loadtests.server import ServerError, fresh_folder

DEMO_S_MAX = 170
NOW_MS = 1_800_000_000_000
HOLD_MS = 15_000
EVENT = ids.event_id(bytes(8))
ORDER = ids.order_id(EVENT, bytes(10))
TIER = "tier_1"
TOKEN = UUID(int=7, version=4)
KEY = OrderKey(EVENT, "buyer", "ann", "key-1")
SCAN = ScanKey(EVENT, "gate-1", "nonce-1")


def test_the_demo_sells_admits_and_holds(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    ended = subprocess.run(
        [sys.executable, "-m", "loadtests.demo", "--no-wait", "--buyers", "400", "--seed", "7"],
        env={**os.environ, "STAMPEDE_DATA_DIR": str(folder)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=DEMO_S_MAX,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    assert "the ledger holds; everybody was let in once" in ended.stdout
    assert "222 places, 222 sold" in ended.stdout
    assert "BROKEN" not in ended.stdout
    assert "venue_conflict" in ended.stdout


async def test_a_folder_that_no_demo_made_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ServerError):
        await fresh_folder(tmp_path)
    assert (tmp_path / "letters.txt").exists()


# The audit.


def test_an_honest_ledger_has_nothing_broken() -> None:
    assert broken(ledger(), seen()) == []


def test_what_got_no_answer_may_have_happened() -> None:
    doubtful = Seen()
    doubtful.asks_for_order(KEY)
    doubtful.scans(SCAN)
    assert broken(ledger(), doubtful) == []
    assert broken(Ledger(), doubtful) == []


def _another_total(told: Seen) -> None:
    told.order_by_key[KEY] = msgspec.structs.replace(told.order_by_key[KEY], total_amount=1)


def _another_deadline(told: Seen) -> None:
    late = instant(NOW_MS + HOLD_MS + 1)
    told.order_by_key[KEY] = msgspec.structs.replace(told.order_by_key[KEY], expires_at=late)


def _another_key(told: Seen) -> None:
    told.order_by_key = {KEY._replace(text="key-2"): told.order_by_key[KEY]}


def _an_order_more(told: Seen) -> None:
    other = ids.order_id(EVENT, bytes(9) + b"\1")
    order = msgspec.structs.replace(told.order_by_key[KEY], order_id=other)
    told.order_by_key[KEY._replace(text="key-2")] = order


def _an_order_less(told: Seen) -> None:
    told.order_by_key.clear()


def _a_refusal(told: Seen) -> None:
    told.order_by_key.clear()
    told.refused_orders.add(KEY)


def _another_token(told: Seen) -> None:
    ticket = msgspec.structs.replace(told.tickets_by_order[ORDER][0], token=str(UUID(int=8)))
    told.tickets_by_order[ORDER] = (ticket,)


def _another_answer_at_the_doors(told: Seen) -> None:
    token, scan = told.scan_by_key[SCAN]
    told.scan_by_key[SCAN] = (token, msgspec.structs.replace(scan, result="ALREADY_ADMITTED"))


def _an_admission_less(told: Seen) -> None:
    told.scan_by_key.clear()


def _an_admission_more(told: Seen) -> None:
    told.scan_by_key[SCAN._replace(nonce="nonce-2")] = told.scan_by_key[SCAN]


@pytest.mark.parametrize(
    ("tamper", "check"),
    [
        (_another_total, promises.orders_are_kept),
        (_another_deadline, promises.orders_are_kept),
        (_another_key, promises.orders_are_kept),
        (_an_order_more, promises.orders_are_kept),
        (_an_order_less, promises.unseen_orders_were_in_doubt),
        (_a_refusal, promises.refusals_placed_nothing),
        (_another_token, promises.confirmed_orders_have_their_tickets),
        (_another_answer_at_the_doors, promises.scans_are_kept),
        (_an_admission_less, promises.admissions_were_told),
        (_an_admission_more, promises.scans_are_kept),
        (_an_admission_more, promises.copies_stayed_out),
    ],
)
def test_a_tampered_answer_breaks_the_audit(
    tamper: Callable[[Seen], None],
    check: Callable[[Ledger, Seen], promises.Finding],
) -> None:
    told = seen()
    tamper(told)
    assert broken(ledger(), told)
    _, wrong = check(ledger(), told)
    assert wrong


def test_two_admissions_of_one_ticket_break_the_audit() -> None:
    twice = ledger()
    last = twice.entries_by_sale[EVENT][-1]
    twice.entries_by_sale[EVENT].append(msgspec.structs.replace(last, seq=last.seq + 1))
    _, wrong = promises.admissions_stand_once(twice, seen())
    assert wrong


def test_one_key_with_two_orders_is_seen_at_once() -> None:
    told = seen()
    other = placed_answer(ids.order_id(EVENT, bytes(9) + b"\1"))
    told.asks_for_order(KEY)
    told.answered_order(KEY, other)
    assert told.contradictions


def broken(found: Ledger, told: Seen) -> list[str]:
    return [check.name for check in against_clients(found, told) if not check.ok]


def ledger() -> Ledger:
    """One sale in which one ticket was bought, paid and admitted."""
    order_key = Key(promises.key_digest(KEY)[1], bytes(16))
    payment_id = ids.payment_id(ORDER, bytes(6))
    terms = EventTerms("orga", "EUR", NOW_MS + HOLD_MS, NOW_MS + 2 * HOLD_MS)
    tier = TierTerms(TIER, "GENERAL", 2_500, 10, 0, NOW_MS + HOLD_MS, 4)
    items = (f.Item(TIER, 1, 2_500),)
    happened: list[f.Fact] = [
        f.SaleOpened(1, terms, (tier,), ()),
        f.OrderPlaced(ORDER, "ann", items, "EUR", NOW_MS, NOW_MS + HOLD_MS, order_key, None),
        f.PaymentRequested(ORDER, payment_id, "card", 2_500, Key(bytes(16), bytes(16))),
        f.OrderConfirmed(ORDER, payment_id, (TOKEN.bytes,), late=False),
        f.TicketScanned(
            device_id=SCAN.device_id,
            nonce=SCAN.nonce,
            token_digest=hashlib.sha256(str(TOKEN).encode()).digest(),
            gate=None,
            scanned_at_ms=None,
            result=f.ScanResult.ADMIT,
            reason=None,
            order_id=ORDER,
            number=0,
            tier_id=TIER,
            checked_in_at_ms=NOW_MS,
            admitted_gate=None,
        ),
    ]
    found = Ledger()
    found.entries_by_sale[EVENT] = [
        f.Entry(EVENT, seq, NOW_MS, fact) for seq, fact in enumerate(happened, 1)
    ]
    return found


def seen() -> Seen:
    """What its buyer and its scanner saw of that."""
    told = Seen()
    told.asks_for_order(KEY)
    told.answered_order(KEY, placed_answer(ORDER))
    ticket = {"ticket_id": ids.ticket_id(ORDER, 0), "tier_id": TIER, "token": str(TOKEN)}
    order = {"order_id": ORDER, "status": "CONFIRMED", "cancel_reason": None, "tickets": [ticket]}
    told.read_order(answer(200, order))
    told.scans(SCAN)
    admitted = {"result": "ADMIT", "ticket_id": ids.ticket_id(ORDER, 0)}
    told.answered_scan(SCAN, str(TOKEN), answer(200, admitted))
    return told


def placed_answer(order_id: str) -> Answer:
    item = {"tier_id": TIER, "quantity": 1, "unit_price": 2_500, "subtotal": 2_500}
    body = {
        "order_id": order_id,
        "event_id": EVENT,
        "buyer_id": "ann",
        "items": [item],
        "total_amount": 2_500,
        "currency": "EUR",
        "created_at": instant(NOW_MS),
        "expires_at": instant(NOW_MS + HOLD_MS),
    }
    return answer(201, body)


def answer(status: int, body: object) -> Answer:
    return Answer(status, b"HTTP/1.1 %d X\r\n" % status, msgspec.json.encode(body))


def instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


# The client.

WITH_LENGTH = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\nX-A: b\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
)
WITH_TRAILER = CHUNKED[:-2] + b"X-Sum: 1\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + WITH_LENGTH


@pytest.mark.parametrize("sent", [WITH_LENGTH, CHUNKED, WITH_TRAILER, CONTINUED])
def test_an_answer_is_whole_exactly_when_its_last_byte_is_there(sent: bytes) -> None:
    for length in range(len(sent)):
        assert parse(sent[:length]) is None
    found = parse(sent + b"HTTP/1.1 404")
    assert found is not None
    assert (found[0].status, found[0].body, found[1]) == (200, b"hello", len(sent))


def test_an_answer_without_a_body_ends_with_its_head() -> None:
    sent = b"HTTP/1.1 204 No Content\r\n\r\n"
    found = parse(sent)
    assert found is not None
    assert (found[0].status, found[0].body, found[1]) == (204, b"", len(sent))
    assert parse(WITH_LENGTH[:-5], bodiless=True) is not None


@pytest.mark.parametrize(
    "sent",
    [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED.replace(b"3\r\nhel", b"z\r\nhel")],
)
def test_what_is_no_answer_is_said_to_be_none(sent: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        parse(sent)
