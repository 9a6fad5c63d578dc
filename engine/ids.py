"""Ids that carry their route: an order's or a ticket's id names the sale that owns it.

Ids are made of random hex handed in by the caller (chance is an argument here):

    evt_<16 hex>                     64 random bits; also the sale's id
    ord_<16 hex of the event><20>    80 random bits of its own
    tkt_<the order's 36 hex>-<n>     the n-th ticket of that order, from 0
    pay_<the order's 36 hex><12>     48 random bits more
    ref_<the order's 36 hex><12>
    wle_<16 hex of the event><20>    an entry of a waitlist
    off_<the entry's 36 hex>         its offer: it gets one at most
    dep_<32 hex>                     a booking's deposit, 128 random bits
    ref_<the deposit's 32 hex>       and what goes back of it, once at most
"""

import hashlib
import re
import zlib
from functools import lru_cache

_EVENT = re.compile(r"evt_[0-9a-f]{16}")
_ORDER = re.compile(r"ord_[0-9a-f]{36}")
_TICKET = re.compile(r"tkt_[0-9a-f]{36}-(0|[1-9][0-9]{0,5})")
_DEPOSIT = re.compile(r"dep_[0-9a-f]{32}")
_ENTRY = re.compile(r"wle_[0-9a-f]{36}")
_OFFER = re.compile(r"off_[0-9a-f]{36}")
_PAYMENT = re.compile(r"(?:pay|ref)_[0-9a-f]{48}")

ORDER_MARK = "ord_"
ENTRY_MARK = "wle_"
PROMO_MARK = "prm_"
EVENT_RANDOM_BYTES = 8
ORDER_RANDOM_BYTES = 10
PAYMENT_RANDOM_BYTES = 6
DEPOSIT_RANDOM_BYTES = 16


def event_id(random: bytes) -> str:
    return "evt_" + random.hex()


def order_id(event: str, random: bytes) -> str:
    return ORDER_MARK + event[4:] + random.hex()


def range_of(prefix: str, owner: str) -> tuple[str, str]:
    """The ids of that kind that name this event, or this order: from the first, up to the second.

    In any collation, as all of a kind are equally long, in lower-case hexadecimal.
    """
    first = prefix + owner[4:]
    return first, first + "g"  # what comes after every hexadecimal digit


def order_random(order: str) -> bytes:
    """What an order's id does not share with those of its event's other orders."""
    return bytes.fromhex(order[20:])


def ticket_id(order: str, number: int) -> str:
    return f"tkt_{order[4:]}-{number}"


def item_id(order: str, position: int) -> str:
    return f"itm_{order[4:]}-{position}"


def payment_id(order: str, random: bytes) -> str:
    return "pay_" + order[4:] + random.hex()


def refund_id(order: str, random: bytes) -> str:
    return "ref_" + order[4:] + random.hex()


def entry_id(event: str, random: bytes) -> str:
    """Of a waitlist."""
    return ENTRY_MARK + event[4:] + random.hex()


def rest_entry_id(entry: str) -> str:
    """Whoever does not know the entry's id can't tell that of its rest."""
    rest = hashlib.blake2b(entry.encode(), digest_size=ORDER_RANDOM_BYTES)
    return entry[:20] + rest.hexdigest()


def offer_id(entry: str) -> str:
    return "off_" + entry[4:]


def entry_of_offer(offer: str) -> str | None:
    return ENTRY_MARK + offer[4:] if _OFFER.fullmatch(offer) else None


def event_of_entry(entry: str) -> str | None:
    return "evt_" + entry[4:20] if _ENTRY.fullmatch(entry) else None


def deposit_id(random: bytes) -> str:
    return "dep_" + random.hex()


def deposit_refund_id(payment: str) -> str:
    return "ref_" + payment[4:]


def is_deposit(payment: str) -> bool:
    """Whether a payment is for a booking's deposit; else it is for an order."""
    return _DEPOSIT.fullmatch(payment) is not None


@lru_cache(maxsize=4096)
def is_event(text: str) -> bool:
    return _EVENT.fullmatch(text) is not None


def event_of_order(order: str) -> str | None:
    """The event that owns this order, or None if the text is no order's id."""
    return "evt_" + order[4:20] if _ORDER.fullmatch(order) else None


def order_of_payment(payment: str) -> str | None:
    return "ord_" + payment[4:40] if _PAYMENT.fullmatch(payment) else None


def order_and_number_of_ticket(ticket: str) -> tuple[str, int] | None:
    found = _TICKET.fullmatch(ticket)
    return ("ord_" + ticket[4:40], int(found[1])) if found else None


def token_text(token: bytes) -> str:
    """A ticket's token as its QR code shows it: a random UUID, lowercase, 36 characters."""
    digits = token.hex()  # five times as quick as by way of a UUID
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@lru_cache(maxsize=4096)
def shard_of(event: str, shards: int) -> int:
    """The shard that an event's sale lives in, fixed for the life of the installation."""
    return zlib.crc32(event.encode()) % shards


def personal_key_id(key: bytes) -> bytes:
    """Names a key of sealed personal data without giving it away."""
    return hashlib.sha256(key).digest()[:8]
