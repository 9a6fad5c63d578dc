"""Why not: every definite refusal is a value with a name. Data only."""

from enum import StrEnum

import msgspec


class Reason(StrEnum):
    # buying
    UNKNOWN_EVENT = "unknown_event"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    EVENT_NOT_ON_SALE = "event_not_on_sale"
    UNKNOWN_TIER = "unknown_tier"
    UNKNOWN_OFFER = "unknown_offer"
    UNKNOWN_PROMO_CODE = "unknown_promo_code"
    SALE_NOT_ACTIVE = "sale_not_active"
    PROMO_CODE_NOT_ACTIVE = "promo_code_not_active"
    MAX_PER_ORDER_EXCEEDED = "max_per_order_exceeded"
    MAX_PER_BUYER_EXCEEDED = "max_per_buyer_exceeded"
    PROMO_CODE_NOT_APPLICABLE = "promo_code_not_applicable"
    PROMO_CODE_USED_UP = "promo_code_used_up"
    SOLD_OUT = "sold_out"
    ATTENDEES_MISMATCH = "attendees_mismatch"
    # orders, payments and tickets
    UNKNOWN_ORDER = "unknown_order"
    ORDER_EXPIRED = "order_expired"
    ORDER_NOT_PENDING = "order_not_pending"
    ORDER_NOT_CONFIRMED = "order_not_confirmed"
    TOO_MANY_KEYS = "too_many_keys"
    UNKNOWN_PAYMENT = "unknown_payment"
    UNKNOWN_REFUND = "unknown_refund"
    UNKNOWN_TICKET = "unknown_ticket"
    TICKET_USED = "ticket_used"
    TICKET_NOT_VALID = "ticket_not_valid"
    TRANSFER_LIMIT = "transfer_limit"
    TRANSFER_CLOSED = "transfer_closed"
    NOT_THE_HOLDER = "not_the_holder"
    # waitlists
    TIER_AVAILABLE = "tier_available"
    ALREADY_WAITING = "already_waiting"
    WAITLIST_FULL = "waitlist_full"
    UNKNOWN_ENTRY = "unknown_entry"
    ENTRY_ENDED = "entry_ended"
    # doors
    TOKEN_NOT_HERE = "token_not_here"  # asks the gateway to look elsewhere; no client sees it
    NONCE_REUSED = "nonce_reused"
    UNKNOWN_CHECKIN = "unknown_checkin"
    NOT_ADMITTED = "not_admitted"
    UNDO_WINDOW_PASSED = "undo_window_passed"
    UNKNOWN_DEVICE = "unknown_device"
    UNKNOWN_CODE = "unknown_code"
    CODE_USED = "code_used"
    CODE_EXPIRED = "code_expired"
    TOO_MANY_DEVICES = "too_many_devices"
    # catalogue
    UNKNOWN_VENUE = "unknown_venue"
    UNKNOWN_BOOKING = "unknown_booking"
    VENUE_INACTIVE = "venue_inactive"
    VENUE_CONFLICT = "venue_conflict"
    ALREADY_BOOKED = "already_booked"
    BOOKING_NOT_CONFIRMED = "booking_not_confirmed"
    EXCEEDS_CAPACITY = "exceeds_capacity"
    BELOW_COMMITTED = "below_committed"
    ILLEGAL_TRANSITION = "illegal_transition"
    EVENT_NOT_EDITABLE = "event_not_editable"
    INVALID_TIMES = "invalid_times"
    AMBIGUOUS_LOCAL_TIME = "ambiguous_local_time"
    NOT_THE_ORGANIZER = "forbidden"
    TOO_MANY_TIERS = "too_many_tiers"
    PROMO_CODE_EXISTS = "promo_code_exists"
    TOO_MANY_PROMO_CODES = "too_many_promo_codes"
    INVALID_DISCOUNT = "invalid_discount"
    EVENT_ON_SALE = "event_on_sale"
    BOOKING_CANCELLED = "booking_cancelled"
    UNKNOWN_ADDON = "unknown_addon"
    TOO_MANY_ADDONS = "too_many_addons"
    UNKNOWN_SERIES = "unknown_series"


class Rejection(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A refusal and the facts of its case, by the names that the API shows them under."""

    reason: Reason
    facts: dict[str, object] | None = None
