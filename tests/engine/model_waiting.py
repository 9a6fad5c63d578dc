"""A naive waitlist, written from the contract's words: who is next, and for how long?"""

from engine import commands as c
from engine import facts as f
from engine import ids
from tests.engine.model_books import ModelBooks, ModelEntry

Verdict = tuple[str, dict[str, object]]
_OVER = {"cancelled": "event_cancelled", "completed": "event_over"}
_MAY_USE = ("admin", "box_office")


class ModelWaitlist(ModelBooks):
    def entry(self, entry_id: str, caller: c.Caller) -> ModelEntry | None:
        found = [e for e in self.entries if e.entry_id == entry_id and not e.forgotten]
        owners = {"buyer": found[0].buyer_id if found else "", "organizer": self.terms.organizer_id}
        may = caller.role in _MAY_USE or owners.get(caller.role) == caller.subject
        return found[0] if found and may else None

    def ends_at_ms(self, entry: ModelEntry) -> int:
        return min(entry.until_ms, self._closes_at_ms(entry.tier_id))

    def _closes_at_ms(self, tier_id: str) -> int:
        return min(self.tiers[tier_id].sale_end_ms, self.terms.ends_at_ms)

    def status_at(self, entry: ModelEntry, now_ms: int) -> str:
        if entry.status == "OFFERED" and now_ms >= self.ends_at_ms(entry):
            return "LAPSED"
        return entry.status

    def _join(self, command: c.JoinWaitlist, now_ms: int) -> Verdict:
        if self.stage == "unopened":
            return "unknown_event", {}
        if self.stage != "open":
            return "event_not_on_sale", {}
        tier = self.tiers.get(command.tier_id)
        if tier is None or tier.hidden:
            return "unknown_tier", {}
        if not tier.sale_start_ms <= now_ms < tier.sale_end_ms:
            return "sale_not_active", {}
        most = tier.per_order_max
        available = self.public(command.tier_id)
        too_many = self.too_many(command.tier_id, command.buyer_id, command.quantity)
        if command.quantity <= most and command.quantity <= available and too_many is None:
            return "tier_available", {"available": available}
        mine = [e for e in self.live_entries() if e.buyer_id == command.buyer_id]
        if any(e.tier_id == command.tier_id for e in mine):
            return "already_waiting", {}
        if command.quantity > most:
            return "max_per_order_exceeded", {"max_per_order": most}
        if too_many is not None:
            return "max_per_buyer_exceeded", too_many
        position = len(self.line(command.tier_id)) + 1
        entry = ModelEntry(
            command.entry_id,
            command.tier_id,
            command.buyer_id,
            command.quantity,
            command.offer_ttl_ms,
        )
        self.entries.append(entry)
        return "WaitlistJoined", {"entry_id": command.entry_id, "position": position}

    def _leave(self, command: c.LeaveWaitlist, now_ms: int) -> Verdict:
        entry = self.entry(command.entry_id, command.caller)
        if entry is None:
            return "unknown_entry", {}
        status = self.status_at(entry, now_ms)
        if status == "LEFT":
            return "unchanged", {}
        if status in ("FULFILLED", "LAPSED"):
            return "entry_ended", {"status": status}
        offered = entry.status == "OFFERED"
        self._ends(entry, "LEFT", now_ms, "buyer")
        return "WaitlistLeft", {"offered": offered, "reason": "buyer"}

    def _ends(
        self, entry: ModelEntry, status: str, now_ms: int, because: str | None = None
    ) -> None:
        entry.status, entry.ended_at_ms, entry.left_because = status, now_ms, because

    def offer_for(
        self, command: c.PlaceOrder, wanted: dict[str, int], now_ms: int
    ) -> ModelEntry | None:
        """Whose offer an order may buy by."""
        for entry in self.entries:
            named = command.offer_id == ids.offer_id(entry.entry_id)
            if named and entry.buyer_id == command.buyer_id and entry.tier_id in wanted:
                return entry if self.status_at(entry, now_ms) == "OFFERED" else None
        return None

    # What a free place brings about.

    def offerable(self, tier_id: str, now_ms: int) -> bool:
        begun = self.tiers[tier_id].sale_start_ms <= now_ms < self._closes_at_ms(tier_id)
        return self.stage == "open" and begun

    def followed(self, facts: list[f.Fact], now_ms: int) -> None:
        """The offers that the engine made: exactly those that are due."""
        left = list(facts)
        for tier_id in self.tiers:
            while self.line(tier_id) and self.free(tier_id) and self.offerable(tier_id, now_ms):
                fact = left.pop(0)
                assert isinstance(fact, f.OfferMade), fact
                self._offered(self.line(tier_id)[0], fact, now_ms)
        assert not left, left

    def _offered(self, entry: ModelEntry, fact: f.OfferMade, now_ms: int) -> None:
        quantity = min(entry.quantity, self.free(entry.tier_id))
        assert (fact.entry_id, fact.quantity) == (entry.entry_id, quantity), fact
        until_ms = min(now_ms + entry.offer_ttl_ms, self._closes_at_ms(entry.tier_id))
        assert fact.expires_at_ms == until_ms, fact
        rest = entry.quantity - quantity
        assert (fact.rest_entry_id is not None) == (rest > 0), fact
        if fact.rest_entry_id is not None:
            waits_on = ModelEntry(
                fact.rest_entry_id, entry.tier_id, entry.buyer_id, rest, entry.offer_ttl_ms
            )
            self.entries.insert(self.entries.index(entry) + 1, waits_on)
        entry.status, entry.quantity, entry.until_ms = "OFFERED", quantity, until_ms
        entry.rest_entry_id = fact.rest_entry_id

    def overdue_offers(self, now_ms: int) -> list[ModelEntry]:
        offered = [e for e in self.entries if e.status == "OFFERED"]
        return [e for e in offered if now_ms >= self.ends_at_ms(e)]

    def swept_waitlist(self, facts: list[f.Fact], most: int, now_ms: int) -> None:
        over = self.stage in _OVER
        due = self.live_entries() if over else self.overdue_offers(now_ms)
        assert len(facts) == min(most, len(due)), facts
        for fact in facts:
            assert isinstance(fact, f.WaitlistLeft if over else f.OfferLapsed), fact
            (entry,) = [e for e in due if e.entry_id == fact.entry_id]
            due.remove(entry)
            assert (fact.tier_id, fact.quantity) == (entry.tier_id, entry.quantity), fact
            if isinstance(fact, f.WaitlistLeft):
                assert fact.offered == (entry.status == "OFFERED"), fact
                assert fact.reason == _OVER[self.stage], fact
                self._ends(entry, "LEFT", now_ms, fact.reason)
            else:
                self._ends(entry, "LAPSED", now_ms)

    def next_offer_ms(self, now_ms: int) -> int | None:
        """When something has to be done for those who wait; 0, now."""
        if self.stage in _OVER:
            return 0 if self.live_entries() else None
        due_ms = [self.ends_at_ms(e) for e in self.entries if e.status == "OFFERED"]
        for tier_id, tier in self.tiers.items():
            if self.stage == "open" and self.line(tier_id) and self.free(tier_id):
                if now_ms < min(tier.sale_start_ms, self._closes_at_ms(tier_id)):
                    due_ms.append(tier.sale_start_ms)
                elif now_ms < self._closes_at_ms(tier_id):
                    due_ms.append(0)
        return min(due_ms, default=None)

    def why_waits(self, entry: ModelEntry, now_ms: int) -> str:
        tier = self.tiers[entry.tier_id]
        if self.stage in _OVER:
            return _OVER[self.stage]
        if now_ms >= tier.sale_end_ms:
            return "sale_over"
        if now_ms >= self.terms.ends_at_ms:
            return "event_over"
        if self.stage == "closed":
            return "sales_closed"
        if now_ms < tier.sale_start_ms:
            return "sale_not_begun"
        return "others_first" if self.free(entry.tier_id) else "no_places_free"
