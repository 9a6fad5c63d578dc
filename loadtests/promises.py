"""What clients were promised, held against the journal's facts. Pure: two records, compared.

Each function answers its numbers as words and everything that is wrong as sentences, in which
nothing stands that opens a door: tickets are named by id, never by token.
"""

import hashlib
from collections import Counter, defaultdict
from datetime import datetime

from engine import facts as f
from engine import ids
from engine.catalogue import to_ms
from engine.money import total_minor
from loadtests.ledger import Ledger
from loadtests.seen import OrderKey, ScanKey, Seen, SeenOrder, SeenTicket

Finding = tuple[str, list[str]]
_KeyDigest = tuple[str, bytes]


def answers_agree(ledger: Ledger, seen: Seen) -> Finding:
    asked = len(seen.order_by_key) + len(seen.scan_by_key)
    return f"{asked} keys and nonces", seen.contradictions


def orders_are_kept(ledger: Ledger, seen: Seen) -> Finding:
    """Every 201 is in the journal exactly once, with that content, under the key it was sent."""
    placed: dict[str, list[tuple[str, f.OrderPlaced]]] = defaultdict(list)
    for sale_id, fact in ledger.facts(f.OrderPlaced):
        placed[fact.order_id].append((sale_id, fact))
    wrong = []
    for key, order in seen.order_by_key.items():
        facts = placed.get(order.order_id, [])
        if len(facts) != 1:
            wrong.append(f"{order.order_id} was seen and is there {len(facts)} times")
        elif (difference := _difference(key, order, *facts[0])) is not None:
            wrong.append(f"{order.order_id} is there with another {difference}")
    return f"{len(seen.order_by_key)} seen", wrong


def _difference(key: OrderKey, order: SeenOrder, sale_id: str, fact: f.OrderPlaced) -> str | None:
    """The first thing in which what was seen and what is kept differ."""
    items = [(i.tier_id, i.quantity, i.unit_price, i.subtotal) for i in order.items]
    kept = [
        (i.tier_id, i.quantity, i.unit_price_minor, i.quantity * i.unit_price_minor)
        for i in fact.items
    ]
    pairs = {
        "event": (order.event_id, sale_id),
        "key": (key_digest(key), (sale_id, fact.key.digest)),
        "buyer": (order.buyer_id, fact.buyer_id),
        "items": (items, kept),
        "total": (order.total_amount, total_minor(fact.items)),
        "currency": (order.currency, fact.currency),
        "instant": (_ms(order.created_at), fact.placed_at_ms),
        "deadline": (_ms(order.expires_at), fact.expires_at_ms),
    }
    return next((name for name, (told, is_kept) in pairs.items() if told != is_kept), None)


def _ms(instant: str) -> int:
    return to_ms(datetime.fromisoformat(instant))


def key_digest(key: OrderKey) -> _KeyDigest:
    """How the journal knows a caller's key at an event."""
    text = f"{key.role}\0{key.subject}\0{key.text}"
    return key.event_id, hashlib.blake2b(text.encode(), digest_size=16).digest()


def unseen_orders_were_in_doubt(ledger: Ledger, seen: Seen) -> Finding:
    known = {order.order_id for order in seen.order_by_key.values()}
    doubtful = {key_digest(key) for key in seen.orders_in_doubt()}
    unseen = [(s, fact) for s, fact in ledger.facts(f.OrderPlaced) if fact.order_id not in known]
    wrong = [
        f"{fact.order_id} is there, and nobody can have asked for it"
        for sale_id, fact in unseen
        if (sale_id, fact.key.digest) not in doubtful
    ]
    return f"{len(unseen)} unseen, {len(doubtful)} requests in doubt", wrong


def keys_place_one_order(ledger: Ledger, seen: Seen) -> Finding:
    placed = Counter((s, fact.key.digest) for s, fact in ledger.facts(f.OrderPlaced))
    wrong = [f"one key has {n} orders at {sale_id}" for (sale_id, _), n in placed.items() if n > 1]
    return f"{len(placed)} keys", wrong


def refusals_placed_nothing(ledger: Ledger, seen: Seen) -> Finding:
    placed = {(s, fact.key.digest): fact.order_id for s, fact in ledger.facts(f.OrderPlaced)}
    refused = [key_digest(key) for key in seen.orders_refused()]
    wrong = [f"{placed[digest]} is there and was refused" for digest in refused if digest in placed]
    return f"{len(refused)} refused", wrong


def confirmed_orders_have_their_tickets(ledger: Ledger, seen: Seen) -> Finding:
    confirmed: dict[str, list[f.OrderConfirmed]] = defaultdict(list)
    for _, fact in ledger.facts(f.OrderConfirmed):
        confirmed[fact.order_id].append(fact)
    tiers = {fact.order_id: _tiers(fact) for _, fact in ledger.facts(f.OrderPlaced)}
    wrong = []
    for order_id, tickets in seen.tickets_by_order.items():
        facts = confirmed.get(order_id, [])
        if len(facts) != 1:
            wrong.append(f"{order_id} was seen confirmed and is {len(facts)} times")
        elif tickets != _issued(order_id, tiers.get(order_id, []), facts[0]):
            wrong.append(f"{order_id} has other tickets than were seen")
    count = sum(len(tickets) for tickets in seen.tickets_by_order.values())
    return f"{len(seen.tickets_by_order)} orders, {count} tickets", wrong


def _tiers(fact: f.OrderPlaced) -> list[str]:
    return [item.tier_id for item in fact.items for _ in range(item.quantity)]


def _issued(order_id: str, tiers: list[str], fact: f.OrderConfirmed) -> tuple[SeenTicket, ...]:
    return tuple(
        SeenTicket(ids.ticket_id(order_id, number), tier_id, ids.token_text(token))
        for number, (tier_id, token) in enumerate(zip(tiers, fact.tokens, strict=False))
    )


def given_up_orders_stay_so(ledger: Ledger, seen: Seen) -> Finding:
    cancelled = Counter(
        fact.order_id
        for _, fact in ledger.facts(f.OrderCancelled)
        if fact.reason is f.CancelReason.BUYER
    )
    confirmed = {fact.order_id for _, fact in ledger.facts(f.OrderConfirmed)}
    wrong = [
        f"{order_id} was given up and is {cancelled[order_id]} times, or was confirmed"
        for order_id in seen.cancelled_orders
        if cancelled[order_id] != 1 or order_id in confirmed
    ]
    return f"{len(seen.cancelled_orders)} seen", wrong


def scans_are_kept(ledger: Ledger, seen: Seen) -> Finding:
    """Every answer at the doors is in the journal exactly once, ADMIT and all others."""
    kept: dict[ScanKey, list[f.TicketScanned]] = defaultdict(list)
    for sale_id, fact in ledger.facts(f.TicketScanned):
        kept[ScanKey(sale_id, fact.device_id, fact.nonce)].append(fact)
    wrong = []
    for key, (token, scan) in seen.scan_by_key.items():
        facts = kept.get(key, [])
        digest = hashlib.sha256(token.encode()).digest()
        told = (digest, scan.result, scan.reason, scan.ticket_id)
        if [(x.token_digest, x.result, x.reason, _ticket_id(x)) for x in facts] != [told]:
            wrong.append(f"{scan.result} of {key.device_id} is there {len(facts)} times, or not so")
    admits = sum(scan.result == f.ScanResult.ADMIT for _, scan in seen.scan_by_key.values())
    return f"{len(seen.scan_by_key)} scans, {admits} ADMIT", wrong


def _ticket_id(fact: f.TicketScanned) -> str | None:
    return ids.ticket_id(fact.order_id, fact.number or 0) if fact.order_id else None


def admissions_stand_once(ledger: Ledger, seen: Seen) -> Finding:
    standing = Counter(
        _ticket_id(fact)
        for _, fact in ledger.facts(f.TicketScanned)
        if fact.result is f.ScanResult.ADMIT
    )
    for _, undone in ledger.facts(f.AdmissionUndone):
        standing[ids.ticket_id(undone.order_id, undone.number)] -= 1
    wrong = [f"{ticket_id} is in {n} times" for ticket_id, n in standing.items() if n not in (0, 1)]
    return f"{sum(standing.values())} admitted", wrong


def admissions_were_told(ledger: Ledger, seen: Seen) -> Finding:
    doubtful = set(seen.scans_in_doubt())
    wrong = []
    for sale_id, fact in ledger.facts(f.TicketScanned):
        key = ScanKey(sale_id, fact.device_id, fact.nonce)
        _, scan = seen.scan_by_key.get(key, ("", None))
        told = scan is not None and scan.result == f.ScanResult.ADMIT
        if fact.result is f.ScanResult.ADMIT and not told and key not in doubtful:
            wrong.append(f"{_ticket_id(fact)} is in, and no device has let it in")
    return f"{len(doubtful)} scans in doubt", wrong


def copies_stayed_out(ledger: Ledger, seen: Seen) -> Finding:
    """However often a token was shown, clients saw it admitted once, undone ones aside."""
    admits: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for token, scan in seen.scan_by_key.values():
        shown[token] += 1
        admits[token] += scan.result == f.ScanResult.ADMIT
    undone = Counter(
        ids.ticket_id(fact.order_id, fact.number) for _, fact in ledger.facts(f.AdmissionUndone)
    )
    ticket_by_token = {token: scan.ticket_id for token, scan in seen.scan_by_key.values()}
    wrong = [
        f"{ticket_by_token[token]} was let in {n} times"
        for token, n in admits.items()
        if n > 1 + undone[ticket_by_token[token] or ""]
    ]
    return f"{sum(n > 1 for n in shown.values())} tokens shown more than once", wrong
