"""A sale to act on: a clock moved by hand, ids and keys that never repeat, every fact audited.

`ask` does what the actor does with a letter: decide, apply, reply.
"""

import hashlib
import itertools
from typing import TypeVar

from engine import commands as c
from engine import facts as f
from engine import ids, sale, snapshot
from engine.order import OrderView
from engine.purchase import ArchivedOrder
from engine.rejections import Reason, Rejection
from engine.replies import Decision, Replayed, Reply
from engine.scan import ScanView, SyncView
from engine.state import GATHER_MS
from engine.telling import OfflineScan, ScanResult
from engine.ticket import token_digest
from engine.waiter import EntryView
from tests.engine.auditor import Auditor
from tests.engine.tables import Tables

EVENT = "evt_0123456789abcdef"
FLOOR = "tier_floor"
BALCONY = "tier_balcony"
GUEST = "tier_guest"

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
HOLD_MS = 15 * MINUTE_MS
OFFER_MS = 30 * MINUTE_MS
KEPT_MS = HOUR_MS  # how long a finished order stays in memory
DOORS_OPEN_BEFORE_MS = 4 * HOUR_MS

NOON_MS = 1_900_000_000_000  # where a stage's clock starts
STARTS_AT_MS = NOON_MS + 2 * HOUR_MS  # so the doors are open

ORGANIZER = c.Caller(c.Role.ORGANIZER, "organizer-1")
BUYER = c.Caller(c.Role.BUYER, "buyer-1")
STRANGER = c.Caller(c.Role.BUYER, "buyer-2")

_T = TypeVar("_T")


def terms(
    tier_id: str = FLOOR,
    *,
    price_minor: int = 5000,
    quantity: int = 10,
    sale_start_ms: int = NOON_MS - DAY_MS,
    sale_end_ms: int = NOON_MS + DAY_MS,
    per_order_max: int = 6,
    per_buyer_max: int | None = None,
    hidden: bool = False,
) -> c.TierTerms:
    return c.TierTerms(
        tier_id,
        tier_id.upper(),
        price_minor,
        quantity,
        sale_start_ms,
        sale_end_ms,
        per_order_max,
        per_buyer_max,
        hidden,
    )


def promo(
    code: str = "SUMMER",
    *,
    kind: c.PromoKind = c.PromoKind.PERCENT,
    value: int = 0,
    tier_ids: tuple[str, ...] = (),
    uses_max: int | None = None,
    window_ms: tuple[int | None, int | None] = (None, None),
    unlocks: bool = False,
) -> c.PromoTerms:
    """Under an id that follows from its code."""
    promo_id = f"prm_{code.lower()}"
    return c.PromoTerms(promo_id, code, kind, value, tier_ids, uses_max, *window_ms, unlocks)


def event_terms(starts_at_ms: int = STARTS_AT_MS, *, reentry: bool = False) -> c.EventTerms:
    ends_at_ms = starts_at_ms + 3 * HOUR_MS
    return c.EventTerms(ORGANIZER.subject, "EUR", starts_at_ms, ends_at_ms, reentry)


def a(kind: type[_T], answer: object) -> _T:
    """The answer, which must be of that kind."""
    assert isinstance(answer, kind), answer
    return answer


class Stage:
    """`entries` is the journal. Unless told otherwise: one tier of ten places, on sale."""

    def __init__(
        self,
        *tiers: c.TierTerms,
        gates: tuple[c.Gate, ...] = (),
        starts_at_ms: int = STARTS_AT_MS,
        opened: bool = True,
        event_id: str = EVENT,
        reentry: bool = False,
    ) -> None:
        self.event_id = event_id
        self.state = snapshot.fresh(event_id)
        self.entries: list[f.Entry] = []
        self.auditor = Auditor()
        self.tables = Tables()
        self.now_ms = NOON_MS
        self.numbers = itertools.count(1)
        if opened:
            every = tiers or (terms(),)
            event = event_terms(starts_at_ms, reentry=reentry)
            self.ask(c.OpenSale(self.version(), event, every, gates))

    def ask(self, command: c.Command) -> Reply:
        decided = sale.decide(self.state, command, self.now_ms)
        if not isinstance(decided, list):
            return decided
        self.write(decided)
        self.write(sale.follow(self.state, self.now_ms))
        return sale.reply(self.state, command, decided)

    def decide(self, command: c.Command) -> Decision:
        return sale.decide(self.state, command, self.now_ms)

    def write(self, facts: list[f.Fact]) -> None:
        for fact in facts:
            entry = f.Entry(self.event_id, self.state.header.seq + 1, self.now_ms, fact)
            sale.apply(self.state, entry)
            self.entries.append(entry)
            self.auditor.hear(entry)
            self.tables.hear(entry)

    def refusal(self, command: c.Command) -> tuple[Reason, dict[str, object]]:
        refused = a(Rejection, self.ask(command))
        return refused.reason, refused.facts or {}

    def reason(self, command: c.Command) -> Reason:
        return self.refusal(command)[0]

    def replay(self, command: c.Command) -> object:
        return a(Replayed, self.ask(command)).view

    def pass_ms(self, span_ms: int) -> None:
        self.now_ms += span_ms

    # What nobody may repeat.

    def version(self) -> int:
        return self.state.header.version + 1

    def random(self, size: int) -> bytes:
        return next(self.numbers).to_bytes(size)

    def key(self) -> c.Key:
        return c.Key(hashlib.sha256(self.random(16)).digest()[:16], self.random(16))

    # Commands, as a gateway would make them.

    def place_order(
        self,
        *wanted: tuple[str, int],
        buyer_id: str = BUYER.subject,
        attendees: int | None = None,
        key: c.Key | None = None,
        offer_id: str | None = None,
        promo_code: str | None = None,
    ) -> c.PlaceOrder:
        selections = tuple(c.Selection(*line) for line in wanted or ((FLOOR, 1),))
        order_id = ids.order_id(self.event_id, self.random(ids.ORDER_RANDOM_BYTES))
        return c.PlaceOrder(
            order_id,
            buyer_id,
            selections,
            attendees,
            HOLD_MS,
            key or self.key(),
            b"sealed",
            offer_id=offer_id,
            promo_code=promo_code,
        )

    def join_waitlist(
        self,
        quantity: int = 1,
        tier_id: str = FLOOR,
        *,
        buyer_id: str = BUYER.subject,
        key: c.Key | None = None,
    ) -> c.JoinWaitlist:
        entry_id = ids.entry_id(self.event_id, self.random(ids.ORDER_RANDOM_BYTES))
        sealed = b"mail of " + buyer_id.encode()
        return c.JoinWaitlist(
            entry_id, tier_id, buyer_id, quantity, OFFER_MS, key or self.key(), sealed
        )

    def request_payment(
        self, order_id: str, caller: c.Caller = BUYER, key: c.Key | None = None
    ) -> c.RequestPayment:
        payment_id = ids.payment_id(order_id, self.random(ids.PAYMENT_RANDOM_BYTES))
        return c.RequestPayment(
            order_id, caller, payment_id, "card", self.random(32), key or self.key()
        )

    def confirm_order(
        self, order_id: str, payment_id: str, amount_minor: int | None = None
    ) -> c.ConfirmOrder:
        owed = self.auditor.orders[order_id].total_minor
        return c.ConfirmOrder(
            order_id,
            payment_id,
            owed if amount_minor is None else amount_minor,
            self.random(32),
            ids.refund_id(order_id, self.random(ids.PAYMENT_RANDOM_BYTES)),
        )

    def refund_order(
        self,
        order_id: str,
        *numbers: int,
        caller: c.Caller = ORGANIZER,
        force: bool = False,
        key: c.Key | None = None,
    ) -> c.RefundOrder:
        refund_id = ids.refund_id(order_id, self.random(ids.PAYMENT_RANDOM_BYTES))
        chosen = numbers or None
        return c.RefundOrder(order_id, caller, refund_id, chosen, "ill", force, key or self.key())

    def reissue_ticket(
        self, order_id: str, number: int = 0, caller: c.Caller = BUYER, key: c.Key | None = None
    ) -> c.ReissueTicket:
        return c.ReissueTicket(order_id, number, caller, self.random(32), key or self.key())

    def transfer_ticket(
        self,
        order_id: str,
        number: int = 0,
        caller: c.Caller = BUYER,
        holder_id: str | None = None,
        key: c.Key | None = None,
    ) -> c.TransferTicket:
        seed, sealed = self.random(32), b"the new one"
        return c.TransferTicket(
            order_id, number, caller, holder_id, 0, seed, key or self.key(), sealed, None
        )

    def name_attendee(
        self, order_id: str, number: int = 0, sealed: bytes = b"somebody else"
    ) -> c.NameAttendee:
        return c.NameAttendee(order_id, number, BUYER, sealed, None)

    def check_in(
        self,
        token: bytes,
        nonce: str | None = None,
        *,
        device_id: str = "device-1",
        gate: str | None = "north",
        elsewhere: bool | None = None,
        override: bool = False,
        leaving: bool = False,
    ) -> c.CheckIn:
        return c.CheckIn(
            device_id,
            nonce or f"nonce-{next(self.numbers)}",
            token_digest(token),
            gate,
            None,
            DOORS_OPEN_BEFORE_MS,
            elsewhere,
            override,
            "knows the band" if override else None,
            leaving,
        )

    def undo_check_in(self, nonce: str, device_id: str = "device-1") -> c.UndoCheckIn:
        return c.UndoCheckIn(device_id, nonce, device_id)

    def told(
        self,
        token: bytes,
        at_ms: int | None = None,
        nonce: str | None = None,
        *,
        gate: str | None = "north",
        told: ScanResult = ScanResult.ADMIT,
        leaving: bool | None = None,
    ) -> OfflineScan:
        """A scan of a device that was offline, whose clock is right."""
        when = self.now_ms if at_ms is None else at_ms
        new = f"nonce-{next(self.numbers)}"
        out = told is ScanResult.EXIT if leaving is None else leaving
        return OfflineScan(nonce or new, token_digest(token), gate, when, when, told, out)

    def sync(self, device_id: str, *scans: OfflineScan) -> list[str]:
        """The outcomes, in order."""
        view = a(SyncView, self.ask(c.SyncScans(device_id, scans)))
        return [scan.outcome.value for scan in view.scans]

    def sweep(self, orders_max: int = 1000, kept_ms: int = KEPT_MS) -> c.Sweep:
        return c.Sweep(orders_max, self.random(32), kept_ms)

    # Whole steps that must succeed.

    def place(self, *wanted: tuple[str, int], buyer_id: str = BUYER.subject) -> str:
        placed = a(f.OrderPlaced, self.ask(self.place_order(*wanted, buyer_id=buyer_id)))
        return placed.order_id

    def request(self, order_id: str) -> str:
        asked = a(OrderView, self.ask(self.request_payment(order_id, c.Caller(c.Role.ADMIN, ""))))
        assert asked.payment_id is not None
        return asked.payment_id

    def sell(self, *wanted: tuple[str, int]) -> OrderView:
        """An order placed and paid: its view, with its tickets."""
        order_id = self.place(*wanted)
        return a(OrderView, self.ask(self.confirm_order(order_id, self.request(order_id))))

    def recall(self, order_id: str) -> c.RecallOrder:
        """With what the tables have by now."""
        file = self.tables.read(order_id)
        return c.RecallOrder(a(ArchivedOrder, file.order), file.seq)

    def archive_all(self) -> None:
        """Until nothing is left that may leave memory, late enough for every cancelled order."""
        self.pass_ms(KEPT_MS + GATHER_MS)
        self.sweep_all()

    def join(self, quantity: int = 1, tier_id: str = FLOOR, buyer_id: str = BUYER.subject) -> str:
        join = self.join_waitlist(quantity, tier_id, buyer_id=buyer_id)
        return a(f.WaitlistJoined, self.ask(join)).entry_id

    def entry(self, entry_id: str) -> EntryView:
        read = c.ReadWaitlistEntry(entry_id, c.Caller(c.Role.ADMIN, ""))
        return a(EntryView, self.ask(read))

    def read(self, order_id: str) -> OrderView:
        return a(OrderView, self.ask(c.ReadOrder(order_id, c.Caller(c.Role.ADMIN, ""))))

    def token(self, order_id: str, number: int = 0) -> bytes:
        return self.read(order_id).tickets[number].token

    def scan(self, token: bytes, nonce: str | None = None, gate: str | None = "north") -> ScanView:
        return a(ScanView, self.ask(self.check_in(token, nonce, gate=gate, elsewhere=False)))

    def leave(self, token: bytes, nonce: str | None = None, gate: str = "north") -> ScanView:
        scan = self.check_in(token, nonce, gate=gate, elsewhere=False, leaving=True)
        return a(ScanView, self.ask(scan))

    def allow_reentry(self, allowed: bool = True) -> None:
        self.ask(c.ConfigureEvent(self.version(), event_terms(reentry=allowed)))

    def cancel_event(self) -> None:
        self.ask(c.CancelEvent(self.version()))

    def close(self) -> None:
        self.ask(c.CloseSale(self.version()))

    def complete(self) -> None:
        self.ask(c.CompleteEvent(self.version()))

    def configure(self, tier: c.TierTerms) -> None:
        assert not isinstance(self.ask(c.ConfigureTier(self.version(), tier)), Rejection)

    def give(self, promo_terms: c.PromoTerms) -> None:
        """A promo code, new or as it is from now on."""
        assert not isinstance(self.ask(c.ConfigurePromo(self.version(), promo_terms)), Rejection)

    def sweep_all(self) -> int:
        """Sweep until nothing is due: how often something was."""
        for sweeps in itertools.count():
            before = len(self.entries)
            self.ask(self.sweep(2))
            if len(self.entries) == before:
                return sweeps
        raise AssertionError

    def inventory(self, tier_id: str = FLOOR) -> tuple[int, int]:
        """(held, sold)"""
        tier = self.state.header.tiers[tier_id]
        return tier.held, tier.sold

    def entities(self) -> dict[str, bytes]:
        return dict(snapshot.encode(self.state, snapshot.names(self.state)))
