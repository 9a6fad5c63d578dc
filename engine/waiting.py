"""The waitlist: free places go to those who wait, strictly first come first served.

Whatever frees a place, `offers` follows it at once, before the next command: it is never seen free
by the public while somebody waits. What is offered counts as held. While no offers may be made (the
sale has not begun, is closed or over) the places lie, for nobody.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from engine import ids, limits
from engine.commands import JoinWaitlist, Key, LeaveWaitlist, PlaceOrder, ReadWaitlistEntry
from engine.facts import (
    EntriesForgotten,
    Fact,
    LeaveReason,
    OfferLapsed,
    OfferMade,
    OfferTaken,
    WaitlistJoined,
    WaitlistLeft,
)
from engine.rejections import Reason, Rejection
from engine.replies import Decision, Replayed
from engine.state import GATHER_MS, Phase, State
from engine.tier import Tier
from engine.waiter import EntryStatus, EntryView, NoOffer, WaitlistEntry, may_use

LINE_MAX = 20_000  # entries that wait for one tier
OFFERS_MAX = 500  # at once; more follow by the next sweep, and nobody gets between
_OVER = {
    Phase.CANCELLED: (NoOffer.EVENT_CANCELLED, LeaveReason.EVENT_CANCELLED),
    Phase.COMPLETED: (NoOffer.EVENT_OVER, LeaveReason.EVENT_OVER),
}


def join(state: State, command: JoinWaitlist, now_ms: int) -> Decision:
    used = state.used(command.key, now_ms)
    if isinstance(used, Rejection):
        return used
    if used is not None:
        return Replayed(_joined_again(state.waitlist.entry_by_id[used.order_id], used.key))
    tier = state.header.tiers.get(command.tier_id)
    refused = _refuse_join(state, tier, command, now_ms)
    if refused is not None:
        return refused
    return [
        WaitlistJoined(
            command.entry_id,
            command.tier_id,
            command.buyer_id,
            command.quantity,
            len(state.waitlist.line(command.tier_id)) + 1,
            command.offer_ttl_ms,
            command.key,
            command.sealed,
        )
    ]


def _refuse_join(
    state: State, tier: Tier | None, command: JoinWaitlist, now_ms: int
) -> Rejection | None:
    if not state.opened:
        return Rejection(Reason.UNKNOWN_EVENT)
    if state.header.phase is not Phase.OPEN:
        return Rejection(Reason.EVENT_NOT_ON_SALE)
    if tier is None or tier.terms.hidden:
        return Rejection(Reason.UNKNOWN_TIER, {"tier_id": command.tier_id})
    if not tier.on_sale(now_ms):
        return Rejection(Reason.SALE_NOT_ACTIVE, {"tier_id": command.tier_id})
    most = tier.terms.per_order_max
    too_many = limits.refuse(state, command.buyer_id, [(tier, command.quantity)])
    if command.quantity <= min(most, tier.public) and too_many is None:
        facts = {"tier_id": command.tier_id, "available": tier.public}
        return Rejection(Reason.TIER_AVAILABLE, dict(facts))
    if state.waitlist.waits(command.tier_id, command.buyer_id):
        return Rejection(Reason.ALREADY_WAITING, {"tier_id": command.tier_id})
    if command.quantity > most:
        facts = {"tier_id": command.tier_id, "requested": command.quantity, "max_per_order": most}
        return Rejection(Reason.MAX_PER_ORDER_EXCEEDED, dict(facts))
    if too_many is not None:
        return too_many
    if len(state.waitlist.line(command.tier_id)) >= LINE_MAX:
        return Rejection(Reason.WAITLIST_FULL, {"tier_id": command.tier_id, "line_max": LINE_MAX})
    return None


def _joined_again(entry: WaitlistEntry, key: Key) -> WaitlistJoined:
    return WaitlistJoined(
        entry.entry_id,
        entry.tier_id,
        entry.buyer_id,
        entry.wanted,
        entry.position,
        entry.offer_ttl_ms,
        key,
        entry.sealed,
    )


def read(state: State, command: ReadWaitlistEntry, now_ms: int) -> EntryView | Rejection:
    entry = _entry_for(state, command)
    return entry if isinstance(entry, Rejection) else view(state, entry, now_ms)


def leave(state: State, command: LeaveWaitlist, now_ms: int) -> Decision:
    entry = _entry_for(state, command)
    if isinstance(entry, Rejection):
        return entry
    status = _status(state, entry, now_ms)
    if status is EntryStatus.LEFT:
        return view(state, entry, now_ms)
    if status in (EntryStatus.FULFILLED, EntryStatus.LAPSED):
        return Rejection(Reason.ENTRY_ENDED, {"status": status.value})
    return [_left(entry, LeaveReason.BUYER)]


def _entry_for(
    state: State, command: ReadWaitlistEntry | LeaveWaitlist
) -> WaitlistEntry | Rejection:
    entry = state.waitlist.entry_by_id.get(command.entry_id)
    if entry is None or not may_use(entry, command.caller, state.header.terms.organizer_id):
        return Rejection(Reason.UNKNOWN_ENTRY)
    return entry


def _left(entry: WaitlistEntry, reason: LeaveReason) -> WaitlistLeft:
    offered = entry.status is EntryStatus.OFFERED
    return WaitlistLeft(entry.entry_id, entry.tier_id, entry.quantity, offered, reason)


def view(state: State, entry: WaitlistEntry, now_ms: int) -> EntryView:
    status = _status(state, entry, now_ms)
    waits = status is EntryStatus.WAITING
    offered = entry.expires_at_ms is not None
    return EntryView(
        entry.entry_id,
        entry.tier_id,
        entry.buyer_id,
        entry.quantity,
        status,
        entry.joined_at_ms,
        state.waitlist.line(entry.tier_id).position(entry) if waits else None,
        _why_no_offer(state, entry, now_ms) if waits else None,
        ends_at_ms(state, entry) if offered else None,
        entry.rest_entry_id,
        entry.order_id,
        entry.left_because,
        entry.origin_id,
        entry.sealed,
    )


def _status(state: State, entry: WaitlistEntry, now_ms: int) -> EntryStatus:
    if entry.status is EntryStatus.OFFERED and now_ms >= ends_at_ms(state, entry):
        return EntryStatus.LAPSED
    return entry.status


def _why_no_offer(state: State, entry: WaitlistEntry, now_ms: int) -> NoOffer:
    tier = state.header.tiers[entry.tier_id]
    closed = _why_closed(state, tier, now_ms)
    if closed is not None:
        return closed
    return NoOffer.OTHERS_FIRST if tier.free else NoOffer.NO_PLACES


# Offers.


def _window_ends_at_ms(state: State, tier: Tier) -> int:
    """Until when anything can be offered."""
    return min(tier.terms.sale_end_ms, state.header.terms.ends_at_ms)


def ends_at_ms(state: State, entry: WaitlistEntry) -> int:
    """Of an entry that has an offer: with its tier's sale at the latest."""
    assert entry.expires_at_ms is not None, entry
    tier = state.header.tiers[entry.tier_id]
    return min(entry.expires_at_ms, _window_ends_at_ms(state, tier))


def _why_closed(state: State, tier: Tier, now_ms: int) -> NoOffer | None:
    """Why nothing is offered, were there places; or None."""
    phase = state.header.phase
    if phase in _OVER:
        return _OVER[phase][0]
    if now_ms >= tier.terms.sale_end_ms:
        return NoOffer.SALE_OVER
    if now_ms >= state.header.terms.ends_at_ms:
        return NoOffer.EVENT_OVER
    if phase is not Phase.OPEN:
        return NoOffer.SALES_CLOSED
    return NoOffer.SALE_NOT_BEGUN if now_ms < tier.terms.sale_start_ms else None


def offers(state: State, now_ms: int) -> list[Fact]:
    """What free places bring about. Reads only."""
    facts: list[Fact] = []
    for tier in state.header.tiers.values():
        if tier.waiting and tier.free and _why_closed(state, tier, now_ms) is None:
            facts += islice(_offers_of(state, tier, now_ms), OFFERS_MAX - len(facts))
    return facts


def _offers_of(state: State, tier: Tier, now_ms: int) -> Iterator[OfferMade]:
    free, window_ends_at_ms = tier.free, _window_ends_at_ms(state, tier)
    for entry_id in state.waitlist.line(tier.terms.tier_id):
        if not free:
            break
        entry = state.waitlist.entry_by_id[entry_id]
        quantity = min(entry.quantity, free)
        rest_id = ids.rest_entry_id(entry_id) if quantity < entry.quantity else None
        expires_at_ms = min(now_ms + entry.offer_ttl_ms, window_ends_at_ms)
        yield OfferMade(entry_id, entry.tier_id, quantity, expires_at_ms, rest_id)
        free -= quantity


def taken_by(state: State, command: PlaceOrder, now_ms: int) -> OfferTaken | Rejection | None:
    """The offer that an order wants to buy by, if it names one."""
    if command.offer_id is None:
        return None
    unknown = Rejection(Reason.UNKNOWN_OFFER, {"offer_id": command.offer_id})
    entry = state.waitlist.entry_by_id.get(ids.entry_of_offer(command.offer_id) or "")
    if entry is None or entry.buyer_id != command.buyer_id:
        return unknown
    if _status(state, entry, now_ms) is not EntryStatus.OFFERED:
        return unknown
    if all(selection.tier_id != entry.tier_id for selection in command.selections):
        return unknown
    return OfferTaken(entry.entry_id, entry.tier_id, entry.quantity)


# What time brings about.


def sweep(state: State, entries_max: int, now_ms: int) -> list[Fact]:
    """End the offers that ran out, or all that a cancelled or completed event still has."""
    waitlist = state.waitlist
    if state.header.phase in _OVER:
        reason = _OVER[state.header.phase][1]
        live = islice(waitlist.live, entries_max)
        return [_left(waitlist.entry_by_id[entry_id], reason) for entry_id in live]
    overdue = islice(waitlist.overdue_offers(now_ms), entries_max)
    return [OfferLapsed(entry.entry_id, entry.tier_id, entry.quantity) for entry in overdue]


def forget(state: State, entries_max: int, until_ms: int) -> list[Fact]:
    """Entries that ended until then (inclusive) leave memory, by the lot."""
    ended = list(islice(state.waitlist.ended.items(), entries_max))
    over = [entry_id for entry_id, at_ms in ended if at_ms <= until_ms]
    if not over or ended[0][1] + GATHER_MS > until_ms:
        return []
    return [EntriesForgotten(tuple(over))]


def next_deadline_ms(state: State, now_ms: int) -> int | None:
    """When an offer ends or can first be made; 0, at once."""
    if state.header.phase in _OVER:
        return 0 if state.waitlist.live else None
    due_ms = [*_beginnings(state, state.header.tiers.values(), now_ms)]
    first = state.waitlist.next_end_ms()
    return min(due_ms if first is None else [*due_ms, first], default=None)


def _beginnings(state: State, tiers: Iterable[Tier], now_ms: int) -> Iterator[int]:
    for tier in tiers:
        if not (tier.waiting and tier.free):
            continue
        match _why_closed(state, tier, now_ms):
            case None:
                yield 0
            case NoOffer.SALE_NOT_BEGUN:
                yield tier.terms.sale_start_ms
            case _:
                pass


# Facts.


def apply_joined(state: State, fact: WaitlistJoined, at_ms: int) -> None:
    entry = WaitlistEntry(
        fact.entry_id,
        fact.tier_id,
        fact.buyer_id,
        fact.quantity,
        state.header.seq,
        at_ms,
        fact.offer_ttl_ms,
        fact.sealed,
        fact.key,
        fact.quantity,
        fact.position,
        fact.entry_id,
    )
    state.waitlist.add(entry)
    state.header.tiers[fact.tier_id].wait(fact.quantity)
    state.touched[fact.entry_id] = None


def apply_offered(state: State, fact: OfferMade) -> None:
    entry = state.waitlist.entry_by_id[fact.entry_id]
    state.waitlist.step_out(entry)
    tier = state.header.tiers[fact.tier_id]
    tier.wait(-fact.quantity)
    tier.hold(fact.quantity)
    if fact.rest_entry_id is not None:
        _wait_on(state, entry, fact.rest_entry_id, entry.quantity - fact.quantity)
    entry.status = EntryStatus.OFFERED
    entry.quantity = fact.quantity
    entry.expires_at_ms = fact.expires_at_ms
    entry.rest_entry_id = fact.rest_entry_id
    state.waitlist.index_offer(entry, ends_at_ms(state, entry))
    state.touched[fact.entry_id] = None


def apply_windows(state: State) -> None:
    """Until when can be sold has changed, perhaps."""
    state.waitlist.index_offers(lambda entry: ends_at_ms(state, entry))


def _wait_on(state: State, entry: WaitlistEntry, rest_entry_id: str, quantity: int) -> None:
    rest = WaitlistEntry(
        rest_entry_id,
        entry.tier_id,
        entry.buyer_id,
        quantity,
        entry.rank,
        entry.joined_at_ms,
        entry.offer_ttl_ms,
        entry.sealed,
        None,
        quantity,
        1,
        entry.origin_id,
    )
    state.waitlist.add(rest)
    state.touched[rest_entry_id] = None


def apply_taken(state: State, fact: OfferTaken, order_id: str, at_ms: int) -> None:
    state.header.tiers[fact.tier_id].release(fact.quantity)
    entry = state.waitlist.entry_by_id[fact.entry_id]
    entry.order_id = order_id
    _end(state, entry, EntryStatus.FULFILLED, at_ms)


def apply_lapsed(state: State, fact: OfferLapsed, at_ms: int) -> None:
    state.header.tiers[fact.tier_id].release(fact.quantity)
    _end(state, state.waitlist.entry_by_id[fact.entry_id], EntryStatus.LAPSED, at_ms)


def apply_left(state: State, fact: WaitlistLeft, at_ms: int) -> None:
    tier = state.header.tiers[fact.tier_id]
    entry = state.waitlist.entry_by_id[fact.entry_id]
    if fact.offered:
        tier.release(fact.quantity)
    else:
        tier.wait(-fact.quantity)
        state.waitlist.step_out(entry)
    entry.left_because = fact.reason
    _end(state, entry, EntryStatus.LEFT, at_ms)


def _end(state: State, entry: WaitlistEntry, status: EntryStatus, at_ms: int) -> None:
    entry.status = status
    state.waitlist.end(entry, at_ms)
    state.touched[entry.entry_id] = None


def apply_forgotten(state: State, fact: EntriesForgotten) -> None:
    for entry_id in fact.entry_ids:
        state.waitlist.forget(entry_id)
        state.touched[entry_id] = None
