"""What the facts of one sale's waitlist add up to, and whether they may have happened at all.

As plain as the auditor that it belongs to: a line is a list, in the order of joining.
"""

from dataclasses import dataclass

from engine import facts as f
from engine.commands import EventTerms, TierTerms


@dataclass
class AuditedEntry:
    tier_id: str
    buyer_id: str
    quantity: int
    status: str = "WAITING"
    expires_at_ms: int = 0
    ended_at_ms: int = 0


class WaitlistAudit:
    def __init__(self) -> None:
        self.entries: dict[str, AuditedEntry] = {}
        self.lines: dict[str, list[str]] = {}  # who waits, by tier

    def offered(self, tier_id: str) -> int:
        """Places that are held for offers."""
        held = [e for e in self.entries.values() if e.status == "OFFERED"]
        return sum(entry.quantity for entry in held if entry.tier_id == tier_id)

    def waiting(self, tier_id: str) -> int:
        return sum(self.entries[entry_id].quantity for entry_id in self.lines.get(tier_id, ()))

    def joined(self, fact: f.WaitlistJoined, tier: TierTerms, free: int, entry: f.Entry) -> None:
        """`free`: of the tier's places, before."""
        line = self.lines.setdefault(fact.tier_id, [])
        assert fact.entry_id not in self.entries, entry
        assert tier.sale_start_ms <= entry.at_ms < tier.sale_end_ms, entry
        assert 1 <= fact.quantity <= tier.per_order_max, entry
        assert line or fact.quantity > free, entry
        assert not self.waits(fact.tier_id, fact.buyer_id), entry
        line.append(fact.entry_id)
        assert fact.position == len(line), entry
        self.entries[fact.entry_id] = AuditedEntry(fact.tier_id, fact.buyer_id, fact.quantity)

    def waits(self, tier_id: str, buyer_id: str) -> bool:
        alive = [e for e in self.entries.values() if e.status in ("WAITING", "OFFERED")]
        return any((e.tier_id, e.buyer_id) == (tier_id, buyer_id) for e in alive)

    def made(
        self, fact: f.OfferMade, tier: TierTerms, terms: EventTerms, free: int, entry: f.Entry
    ) -> None:
        """To the first in the line, as much as there is."""
        line = self.lines[fact.tier_id]
        assert line[0] == fact.entry_id, entry
        assert tier.sale_start_ms <= entry.at_ms < tier.sale_end_ms, entry
        latest_ms = min(tier.sale_end_ms, terms.ends_at_ms)
        assert entry.at_ms < fact.expires_at_ms <= latest_ms, entry
        offered = self.entries[fact.entry_id]
        assert 0 < fact.quantity == min(offered.quantity, free), entry
        rest = offered.quantity - fact.quantity
        assert (fact.rest_entry_id is not None) == (rest > 0), entry
        line.pop(0)
        if fact.rest_entry_id is not None:
            assert fact.rest_entry_id not in self.entries, entry
            line.insert(0, fact.rest_entry_id)
            waits_on = AuditedEntry(fact.tier_id, offered.buyer_id, rest)
            self.entries[fact.rest_entry_id] = waits_on
        offered.status, offered.quantity = "OFFERED", fact.quantity
        offered.expires_at_ms = fact.expires_at_ms

    def ends_at_ms(self, entry_id: str, tier: TierTerms, terms: EventTerms) -> int:
        offer = self.entries[entry_id]
        return min(offer.expires_at_ms, tier.sale_end_ms, terms.ends_at_ms)

    def lapsed(
        self, fact: f.OfferLapsed, tier: TierTerms, terms: EventTerms, entry: f.Entry
    ) -> None:
        assert entry.at_ms >= self.ends_at_ms(fact.entry_id, tier, terms), entry
        self._ends_offer(fact, "LAPSED", entry)

    def taken(self, placed: f.OrderPlaced, tier: TierTerms, terms: EventTerms, at: f.Entry) -> None:
        assert placed.offer is not None, at
        assert at.at_ms < self.ends_at_ms(placed.offer.entry_id, tier, terms), at
        assert self.entries[placed.offer.entry_id].buyer_id == placed.buyer_id, at
        assert placed.offer.tier_id in {item.tier_id for item in placed.items}, at
        self._ends_offer(placed.offer, "FULFILLED", at)

    def _ends_offer(
        self, fact: f.OfferLapsed | f.OfferTaken | f.WaitlistLeft, status: str, entry: f.Entry
    ) -> None:
        offer = self.entries[fact.entry_id]
        assert offer.status == "OFFERED", entry
        assert (offer.tier_id, offer.quantity) == (fact.tier_id, fact.quantity), entry
        offer.status, offer.ended_at_ms = status, entry.at_ms

    def left(self, fact: f.WaitlistLeft, stage: str, entry: f.Entry) -> None:
        ended = {"buyer": stage, "event_cancelled": "cancelled", "event_over": "completed"}
        assert ended[fact.reason] == stage, entry
        if fact.offered:
            self._ends_offer(fact, "LEFT", entry)
            return
        waiter = self.entries[fact.entry_id]
        assert waiter.quantity == fact.quantity, entry
        self.lines[fact.tier_id].remove(fact.entry_id)
        waiter.status, waiter.ended_at_ms = "LEFT", entry.at_ms

    def forgotten(self, fact: f.EntriesForgotten, kept_ms: int, entry: f.Entry) -> None:
        assert fact.entry_ids, entry
        for entry_id in fact.entry_ids:
            ended = self.entries[entry_id]
            assert ended.status in ("FULFILLED", "LAPSED", "LEFT"), entry
            assert entry.at_ms >= ended.ended_at_ms + kept_ms, entry
