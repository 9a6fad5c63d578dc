"""The audit: the journal by itself, and every answer that a client saw against the journal.

An answer from memory (a read, a refusal) must be true of one moment between its question and its
arrival: nobody may hear from an owner that was deposed before he asked.

A refusal is definite for the attempt that it answers. An earlier attempt of the same client, which
a fault had answered, or a second copy of the call may still be on its way and be decided
afterwards: then the journal has what the client was refused, but only later than that.
"""

from collections import defaultdict
from collections.abc import Iterable

from msgspec.structs import replace

from engine import commands as c
from engine import facts as f
from engine.order import OrderStatus, OrderView
from engine.rejections import Reason, Rejection
from engine.replies import Reply
from engine.runtime.ports import Batch
from engine.scan import ScanView
from engine.state import SaleView
from tests.engine.auditor import AuditedOrder, Auditor
from tests.runtime.simulation.clients import Seen, view
from tests.runtime.simulation.witness import Witness

_Free = dict[str, int]  # places by tier
_Placed = tuple[int, f.Fact]  # with its number in the sale


def audit_shard(batches: Iterable[Batch]) -> None:
    """One writer an epoch, no gaps."""
    before = (0, 0)
    for batch in batches:
        assert batch.seq == before[1] + 1, batch
        assert batch.epoch >= before[0], batch
        before = (batch.epoch, batch.seq)


class Ledger:
    """The facts by what an answer tells of them. Making it audits each sale by itself."""

    def __init__(self, entries: list[f.Entry], witness: Witness) -> None:
        self._witness = witness
        self._auditors: defaultdict[str, Auditor] = defaultdict(Auditor)
        self._free: defaultdict[str, list[_Free]] = defaultdict(lambda: [{}])  # after each fact
        self._status: defaultdict[str, list[tuple[int, OrderStatus]]] = defaultdict(
            list
        )  # by order
        self._orders: defaultdict[bytes, list[_Placed]] = defaultdict(list)  # by key
        self._scans: defaultdict[tuple[str, str], list[f.Fact]] = defaultdict(list)
        self._money: defaultdict[str | None, list[f.Fact]] = defaultdict(list)  # by payment
        self._asked: defaultdict[bytes, list[_Placed]] = defaultdict(list)  # by key
        self._given_up: defaultdict[str, list[_Placed]] = defaultdict(list)  # by order
        self._joined: defaultdict[bytes, list[_Placed]] = defaultdict(list)  # by key
        self.bought_by_offer = 0
        for entry in entries:
            self._hear(entry)

    def _hear(self, entry: f.Entry) -> None:
        auditor = self._auditors[entry.sale_id]
        auditor.hear(entry)
        self._free[entry.sale_id].append(
            {tier_id: auditor.public(tier_id) for tier_id in auditor.tiers}
        )
        match entry.fact:
            case f.OrderPlaced() as fact:
                self._orders[fact.key.digest].append((entry.seq, fact))
                if fact.offer is not None:
                    self.bought_by_offer += 1
            case f.WaitlistJoined() as fact:
                self._joined[fact.key.digest].append((entry.seq, fact))
            case f.TicketScanned() as fact:
                self._scans[fact.device_id, fact.nonce].append(fact)
            case f.PaymentRequested() | f.PaymentAskedAgain() as fact:
                self._asked[fact.key.digest].append((entry.seq, fact))
            case f.OrderConfirmed() | f.MoneyReturned() as fact:
                self._money[fact.payment_id].append(fact)
            case f.OrderCancelled(_, f.CancelReason.BUYER) as fact:
                self._given_up[fact.order_id].append((entry.seq, fact))
        order_id = getattr(entry.fact, "order_id", None)
        if order_id in auditor.orders:
            status = _status(auditor.orders[order_id])
            self._status[order_id].append((entry.seq, status))

    def check(self, seen: Seen) -> None:
        """Raises AssertionError where the answer is not what the journal has."""
        told = view(seen.answer)
        self._check_facts(seen, told)
        match told:
            case SaleView():
                assert seen.after <= told.seq <= seen.before, seen
                if isinstance(seen.command, c.ReadSale):
                    free = {tier.terms.tier_id: tier.public for tier in told.tiers}
                    assert free == self._free[seen.sale_id][told.seq], seen
            case OrderView() if isinstance(seen.command, c.ReadOrder):
                self._check_order(seen, told)
            case Rejection():
                self._check_refusal(seen, told)

    def _check_facts(self, seen: Seen, told: Reply) -> None:
        """A success is in the journal once, with that content; a definite refusal is not."""
        match seen.command:
            case c.PlaceOrder() as command:
                found = self._only(self._orders[command.key.digest], seen, told)
                assert told_of(found) in (None, told_of(told)), seen
            case c.JoinWaitlist() as command:
                joined = self._only(self._joined[command.key.digest], seen, told)
                assert joined in (None, told), seen
            case c.CheckIn() as command:
                assert isinstance(told, ScanView), seen
                assert self._scans[command.device_id, command.nonce] == [told.fact], seen
            case c.RequestPayment() as command:
                asked = self._only(self._asked[command.key.digest], seen, told)
                if isinstance(told, OrderView):
                    assert isinstance(asked, f.PaymentRequested | f.PaymentAskedAgain), seen
                    assert asked.payment_id == told.payment_id, seen
            case c.ConfirmOrder() as command:
                assert isinstance(told, OrderView), seen
                (money,) = self._money[command.payment_id]
                if isinstance(money, f.OrderConfirmed):
                    assert money.tokens == tuple(t.token for t in told.tickets), seen
            case c.CancelOrder() as command if isinstance(told, OrderView):
                assert len(self._given_up[command.order_id]) == 1, seen

    def _only(self, found: list[_Placed], seen: Seen, told: Reply) -> f.Fact | None:
        """The one fact there is of a success; of a refusal there is none when it is given."""
        if not isinstance(told, Rejection):
            assert len(found) == 1, seen
            return found[0][1]
        again = seen.attempts > 1 or self._witness.doubled(seen.command)
        assert len(found) <= again, seen
        assert all(seq > seen.after for seq, _ in found), seen
        return None

    def _check_refusal(self, seen: Seen, told: Rejection) -> None:
        if told.reason is not Reason.SOLD_OUT or told.facts is None:
            return
        if isinstance(seen.command, c.PlaceOrder) and seen.command.offer_id is not None:
            return
        tier_id, free = told.facts["tier_id"], told.facts["available"]
        meanwhile = self._free[seen.sale_id][seen.after : seen.before + 1]
        assert any(moment[str(tier_id)] == free for moment in meanwhile), seen

    def _check_order(self, seen: Seen, told: OrderView) -> None:
        if told.cancel_reason is f.CancelReason.EXPIRED:
            return  # by the clock, perhaps before the journal says so
        history = self._status[told.order_id]
        meanwhile = {status for seq, status in history if seen.after < seq <= seen.before}
        meanwhile.update([status for seq, status in history if seq <= seen.after][-1:])
        assert told.status in meanwhile, (seen, history)

    def lines(self, sale_id: str) -> list[str]:
        """The entries that wait."""
        lines = self._auditors[sale_id].waitlist.lines.values()
        return [entry_id for line in lines for entry_id in line]

    def to_be_offered(self, sale_id: str) -> list[str]:
        auditor = self._auditors[sale_id]
        return auditor.to_be_offered(auditor.at_ms)

    def held(self, sale_id: str) -> int:
        auditor = self._auditors[sale_id]
        return sum(auditor.held(tier_id) for tier_id in auditor.tiers)


def told_of(placed: f.Fact | Reply) -> f.Fact | Reply:
    """What an answer tells: by which offer it was bought, a replay does not."""
    return replace(placed, offer=None) if isinstance(placed, f.OrderPlaced) else placed


def _status(order: AuditedOrder) -> OrderStatus:
    if order.holds:
        return OrderStatus.PENDING
    if not order.confirmed:
        return OrderStatus.CANCELLED
    alive = any(ticket.alive for ticket in order.tickets)
    return OrderStatus.CONFIRMED if alive else OrderStatus.REFUNDED
