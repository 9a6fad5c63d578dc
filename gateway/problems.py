"""Refusals and faults as RFC 9457 problem documents: one table from reason to status."""

import msgspec
from aiohttp import web

from engine.rejections import Reason, Rejection
from engine.runtime.faults import (
    DeadlinePassed,
    Fault,
    JournalUnavailable,
    MailboxFull,
    MailboxUnavailable,
    NotOwner,
    OutcomeUnknown,
    SaleDied,
    SaleUnavailable,
    TablesBehind,
)
from gateway.answers import Answer

STATUS: dict[Reason, int] = {
    Reason.UNKNOWN_EVENT: 404,
    Reason.IDEMPOTENCY_KEY_REUSED: 422,
    Reason.EVENT_NOT_ON_SALE: 409,
    Reason.UNKNOWN_TIER: 404,
    Reason.UNKNOWN_OFFER: 404,
    Reason.UNKNOWN_PROMO_CODE: 404,
    Reason.SALE_NOT_ACTIVE: 409,
    Reason.PROMO_CODE_NOT_ACTIVE: 409,
    Reason.MAX_PER_ORDER_EXCEEDED: 422,
    Reason.MAX_PER_BUYER_EXCEEDED: 422,
    Reason.PROMO_CODE_NOT_APPLICABLE: 422,
    Reason.PROMO_CODE_USED_UP: 409,
    Reason.SOLD_OUT: 409,
    Reason.ATTENDEES_MISMATCH: 422,
    Reason.UNKNOWN_ORDER: 404,
    Reason.ORDER_EXPIRED: 409,
    Reason.ORDER_NOT_PENDING: 409,
    Reason.ORDER_NOT_CONFIRMED: 409,
    Reason.TOO_MANY_KEYS: 409,
    Reason.UNKNOWN_PAYMENT: 404,
    Reason.UNKNOWN_REFUND: 404,
    Reason.UNKNOWN_TICKET: 404,
    Reason.TICKET_USED: 409,
    Reason.TICKET_NOT_VALID: 409,
    Reason.TRANSFER_LIMIT: 409,
    Reason.TRANSFER_CLOSED: 409,
    Reason.NOT_THE_HOLDER: 403,
    Reason.TIER_AVAILABLE: 409,
    Reason.ALREADY_WAITING: 409,
    Reason.WAITLIST_FULL: 409,
    Reason.UNKNOWN_ENTRY: 404,
    Reason.ENTRY_ENDED: 409,
    Reason.TOKEN_NOT_HERE: 503,
    Reason.NONCE_REUSED: 422,
    Reason.UNKNOWN_CHECKIN: 404,
    Reason.NOT_ADMITTED: 409,
    Reason.UNDO_WINDOW_PASSED: 409,
    Reason.UNKNOWN_DEVICE: 404,
    Reason.UNKNOWN_CODE: 404,
    Reason.CODE_USED: 409,
    Reason.CODE_EXPIRED: 409,
    Reason.TOO_MANY_DEVICES: 422,
    Reason.UNKNOWN_VENUE: 404,
    Reason.UNKNOWN_BOOKING: 404,
    Reason.VENUE_INACTIVE: 409,
    Reason.VENUE_CONFLICT: 409,
    Reason.ALREADY_BOOKED: 409,
    Reason.BOOKING_NOT_CONFIRMED: 409,
    Reason.EXCEEDS_CAPACITY: 422,
    Reason.BELOW_COMMITTED: 409,
    Reason.ILLEGAL_TRANSITION: 409,
    Reason.EVENT_NOT_EDITABLE: 409,
    Reason.INVALID_TIMES: 422,
    Reason.AMBIGUOUS_LOCAL_TIME: 422,
    Reason.NOT_THE_ORGANIZER: 403,
    Reason.TOO_MANY_TIERS: 422,
    Reason.PROMO_CODE_EXISTS: 409,
    Reason.TOO_MANY_PROMO_CODES: 422,
    Reason.INVALID_DISCOUNT: 422,
    Reason.EVENT_ON_SALE: 409,
    Reason.BOOKING_CANCELLED: 409,
    Reason.UNKNOWN_ADDON: 404,
    Reason.TOO_MANY_ADDONS: 422,
    Reason.UNKNOWN_SERIES: 404,
}

_FAULTS: dict[type[Fault], tuple[int, str, bool]] = {
    MailboxFull: (503, "overloaded", True),
    MailboxUnavailable: (503, "overloaded", True),
    DeadlinePassed: (503, "overloaded", True),
    NotOwner: (503, "overloaded", True),
    SaleUnavailable: (503, "overloaded", True),
    TablesBehind: (503, "overloaded", True),
    JournalUnavailable: (503, "overloaded", True),
    OutcomeUnknown: (503, "outcome_unknown", True),
    SaleDied: (500, "internal_error", False),
}

_encode = msgspec.json.Encoder().encode
_CONTENT_TYPE = "application/problem+json"
_SHOWN_AS = {"status": "current_status"}  # RFC 9457 means the answer's own by `status`


class Problem(Exception):
    """An answer other than success that the edge itself gives; `facts` are those of the case."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retryable: bool = False,
        retry_after_s: int | None = None,
        facts: dict[str, object] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.facts = facts or {}


def malformed(detail: str) -> Problem:
    """A body, header or parameter that does not parse or fit; `detail` names it."""
    return Problem(400, "malformed_request", detail)


def unprocessable(code: str, detail: str, **facts: object) -> Problem:
    return Problem(422, code, detail, facts=facts)


def of_fault(fault: Fault) -> Problem:
    status, code, retryable = _FAULTS[type(fault)]
    detail = (fault.__doc__ or code).partition("\n")[0]
    retry_after_s = fault.retry_after_s if status == 503 else None
    return Problem(status, code, detail, retryable=retryable, retry_after_s=retry_after_s)


def refused(rejection: Rejection) -> web.Response:
    """The answer for a definite refusal."""
    return told(refusal(rejection)).response()


def refusal(rejection: Rejection) -> Problem:
    facts = {_SHOWN_AS.get(name, name): fact for name, fact in (rejection.facts or {}).items()}
    reason = rejection.reason
    return Problem(STATUS[reason], reason.value, sentence(rejection), facts=facts)


def told(problem: Problem) -> Answer:
    body = {
        "type": f"urn:stampede:problem:{problem.code}",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "retryable": problem.retryable,
        **problem.facts,
    }
    return Answer(problem.status, _encode(body), _CONTENT_TYPE, problem.code, problem.retry_after_s)


def sentence(rejection: Rejection) -> str:
    """What was refused and the facts of the case, in words."""
    name = rejection.reason.value.replace("_", " ")
    facts = ", ".join(f"{key} {value}" for key, value in (rejection.facts or {}).items())
    return f"{name}: {facts}" if facts else name
