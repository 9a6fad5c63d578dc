"""The waitlist of one sale, counted anew from its facts, for `persistence.recount`."""

from msgspec import Struct

from engine import facts as f


class Waiter(Struct):
    tier_id: str
    buyer_id: str
    quantity: int
    joined_at_ms: int
    origin_id: str
    sealed: bytes | None
    status: str = "WAITING"
    expires_at_ms: int | None = None
    rest_entry_id: str | None = None
    order_id: str | None = None
    left_because: str | None = None
    ended_at_ms: int | None = None

    def end(self, status: str, at_ms: int) -> None:
        self.status, self.ended_at_ms = status, at_ms


class Waiters:
    """`lines`: who waits, by tier, the first first."""

    def __init__(self) -> None:
        self.by_id: dict[str, Waiter] = {}
        self.lines: dict[str, list[str]] = {}

    def waiting(self, tier_id: str) -> int:
        return sum(self.by_id[entry_id].quantity for entry_id in self.lines.get(tier_id, ()))

    def join(self, fact: f.WaitlistJoined, at_ms: int) -> None:
        self.by_id[fact.entry_id] = Waiter(
            fact.tier_id, fact.buyer_id, fact.quantity, at_ms, fact.entry_id, fact.sealed
        )
        self.lines.setdefault(fact.tier_id, []).append(fact.entry_id)

    def offer(self, fact: f.OfferMade) -> str | None:
        """What is wrong with it."""
        waiter, line = self.by_id[fact.entry_id], self.lines[fact.tier_id]
        first = line.index(fact.entry_id) == 0
        line.remove(fact.entry_id)
        if fact.rest_entry_id is not None:
            left = waiter.quantity - fact.quantity
            told = (waiter.tier_id, waiter.buyer_id, left, waiter.joined_at_ms)
            self.by_id[fact.rest_entry_id] = Waiter(*told, waiter.origin_id, waiter.sealed)
            line.insert(0, fact.rest_entry_id)
        waiter.status, waiter.quantity = "OFFERED", fact.quantity
        waiter.expires_at_ms, waiter.rest_entry_id = fact.expires_at_ms, fact.rest_entry_id
        return None if first else f"{fact.entry_id} is offered places before its turn"

    def leave(self, fact: f.WaitlistLeft, at_ms: int) -> None:
        waiter = self.by_id[fact.entry_id]
        if waiter.status == "WAITING":
            self.lines[fact.tier_id].remove(fact.entry_id)
        waiter.left_because = fact.reason
        waiter.end("LEFT", at_ms)

    def take(self, placed: f.OrderPlaced, at_ms: int) -> str | None:
        """What is wrong with an order's offer, or with its having none."""
        offer = placed.offer
        if offer is not None:
            waiter = self.by_id[offer.entry_id]
            offered, waiter.order_id = waiter.status == "OFFERED", placed.order_id
            waiter.end("FULFILLED", at_ms)
            if not offered or waiter.buyer_id != placed.buyer_id:
                return f"{placed.order_id} is bought by an offer that its buyer does not have"
        for item in placed.items:
            own = offer.quantity if offer is not None and offer.tier_id == item.tier_id else 0
            if item.quantity > own and self.lines.get(item.tier_id):
                return f"{placed.order_id} got places that others wait for"
        return None
