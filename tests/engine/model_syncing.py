"""What devices tell afterwards, as a naive sale has it: of those that stand, the earliest is looked
for anew each time.
"""

from engine import commands as c
from engine.telling import OfflineScan
from tests.engine.model_books import ModelBooks, ModelScan, ModelTicket


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
        self.scans[name] = kept
        kept.outcome = self._outcome(kept, scan)
        return kept.outcome

    def _outcome(self, kept: ModelScan, scan: OfflineScan) -> str:
        known = [t for t in self.tickets() if scan.token_digest in t.digests]
        if not known:
            return "unknown"
        ticket, device_id = known[0], kept.device_id
        first = min(ticket.told, key=lambda told: told.told_at_ms, default=None)
        holder = ticket.admitted_online_by or (first.device_id if first else None)
        again = device_id == holder or device_id in ticket.told_by
        if scan.told == "ADMIT":
            ticket.told_by.add(device_id)
        if any(scan.at_ms >= end for end in self._token_ends(ticket, scan.token_digest)):
            return "late_invalid"
        if scan.told != "ADMIT":
            return "duplicate" if again and scan.told == "ALREADY_ADMITTED" else "recorded"
        kept.told_at_ms = scan.at_ms
        if ticket.admitted_online_by is None:
            ticket.told.append(kept)
            now_first = min(ticket.told, key=lambda told: told.told_at_ms)
            if now_first is kept:
                if first is not None:
                    first.admitted = None
                kept.admitted = ticket
                ticket.admitted = (scan.at_ms, scan.gate)
                return "recorded"
        return "duplicate" if again else "conflict"

    def _token_ends(self, ticket: ModelTicket, digest: bytes) -> list[int]:
        ends = [self.cancelled_at_ms, ticket.ended_at_ms]
        if digest != ticket.digests[-1]:
            ends.append(ticket.replaced_at_ms[ticket.digests.index(digest)])
        return [end for end in ends if end is not None]
