"""What devices tell afterwards, as a naive sale has it: of those that stand, the earliest is looked
for anew each time.
"""

from collections import Counter

from engine import commands as c
from engine.stays import VISITS_MAX
from engine.telling import OfflineScan
from tests.engine.model_books import ModelBooks, ModelScan, ModelTicket
from tests.engine.model_stays import ended, go_through, stay_of


class ModelSyncing(ModelBooks):
    cancelled_at_ms: int | None = None

    def sync(self, command: c.SyncScans, now_ms: int) -> list[str]:
        """The outcomes, in order."""
        return [self._tell(command.device_id, scan, now_ms) for scan in command.scans]

    def _tell(self, device_id: str, scan: OfflineScan, now_ms: int) -> str:
        name = (device_id, scan.nonce)
        if name in self.scans and self.scans[name].digest != scan.token_digest:
            name = (device_id, f"{scan.nonce} {scan.token_digest[:8].hex()}")
        if name in self.scans:
            return self.scans[name].outcome
        kept = ModelScan(scan.token_digest, now_ms, None, device_id=device_id, gate=scan.gate)
        kept.told_at_ms, kept.leaving = scan.at_ms, scan.leaving
        self.scans[name] = kept
        kept.outcome = self._outcome(kept, scan)
        return kept.outcome

    def _outcome(self, kept: ModelScan, scan: OfflineScan) -> str:
        known = [t for t in self.tickets() if scan.token_digest in t.digests]
        if not known:
            return "unknown"
        ticket, device_id = known[0], kept.device_id
        if self.may_return(ticket) or scan.leaving:
            return self._through(ticket, kept, scan)
        told_before = device_id in ticket.told_by
        if scan.told == "ADMIT":
            ticket.told_by.add(device_id)
        if any(scan.at_ms >= end for end in self._token_ends(ticket, scan.token_digest)):
            return "late_invalid"
        first = min(ticket.told, key=lambda told: told.told_at_ms, default=None)
        holder = ticket.admitted_online_by or (first.device_id if first else None)
        again = device_id == holder or told_before
        if scan.told != "ADMIT":
            return "duplicate" if again and scan.told == "ALREADY_ADMITTED" else "recorded"
        if ticket.admitted_online_by is None:
            ticket.told.append(kept)
            now_first = min(ticket.told, key=lambda told: told.told_at_ms)
            if now_first is kept:
                if first is not None:
                    first.admitted = None
                kept.admitted = ticket
                kept.result = "ADMIT"
                ticket.in_by = kept
                ticket.admitted = (scan.at_ms, scan.gate)
                return "recorded"
        return "duplicate" if again else "conflict"

    def _token_ends(self, ticket: ModelTicket, digest: bytes) -> list[int]:
        ends = [self.cancelled_at_ms, ticket.ended_at_ms]
        if digest != ticket.digests[-1]:
            ends.append(ticket.replaced_at_ms[ticket.digests.index(digest)])
        return [end for end in ends if end is not None]

    # Where one may come back.

    def may_return(self, ticket: ModelTicket) -> bool:
        return self.terms.reentry or bool(ticket.visits)

    def _through(self, ticket: ModelTicket, kept: ModelScan, scan: OfflineScan) -> str:
        if scan.leaving and not (self.may_return(ticket) and len(ticket.visits) < VISITS_MAX):
            return "recorded"
        ends = self._token_ends(ticket, scan.token_digest)
        late = any(scan.at_ms >= end for end in ends)
        if scan.told == "ADMIT":
            ticket.told_by.add(kept.device_id)
        if late and not scan.leaving:
            return "late_invalid"
        first = ticket.visits or ([ticket.in_by] if ticket.in_by is not None else [])
        stay = stay_of(first, kept)
        if scan.leaving:
            if scan.told == "EXIT" and late and stay.admission is None:
                return "late_invalid"
            if scan.told == "EXIT":
                go_through(ticket, kept)
            return "recorded"
        again = kept.device_id in [e.device_id for e in stay.entries if e is not kept]
        if scan.told != "ADMIT":
            return "duplicate" if again and scan.told == "ALREADY_ADMITTED" else "recorded"
        kept.result = "ADMIT" if stay.admission is kept else "ALREADY_ADMITTED"
        go_through(ticket, kept)
        if kept.result == "ADMIT":
            return "recorded"
        return "duplicate" if again else "conflict"

    def admitted(self) -> tuple[object, ...]:
        """Those that stand, and of the exits those that ended one."""
        over = [(t.tier_id, pair) for t in self.tickets() for pair in ended(t)]
        entries = [(tier_id, let_in.told_at_ms, let_in.gate) for tier_id, (let_in, _) in over]
        inside = [(t.tier_id, *t.admitted) for t in self.tickets() if t.admitted]
        exits = [(tier_id, out.told_at_ms, out.gate) for tier_id, (_, out) in over]
        return (*_counted([*entries, *inside]), *_counted(exits))


def _counted(
    rows: list[tuple[str, int, str | None]],
) -> tuple[int, dict[str, int], dict[str, int], dict[int, int]]:
    return (
        len(rows),
        Counter(tier_id for tier_id, _, _ in rows),
        Counter(gate or "" for _, _, gate in rows),
        Counter(at_ms // 60_000 * 60_000 for _, at_ms, _ in rows),
    )
