"""The life of an event, as the API names its states.

DRAFT -> PUBLISHED <-> ON_SALE <-> SOLD_OUT; COMPLETED from all of them but DRAFT; CANCELLED from
every state but COMPLETED. SOLD_OUT is never set: an event on sale whose tiers are all sold reads
so. COMPLETED comes by itself at the event's end.
"""

from enum import StrEnum

from engine.rejections import Reason, Rejection


class EventStatus(StrEnum):
    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    ON_SALE = "ON_SALE"
    SOLD_OUT = "SOLD_OUT"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class Step(StrEnum):
    PUBLISH = "publish"
    OPEN_SALES = "open-sales"
    CLOSE_SALES = "close-sales"
    CANCEL = "cancel"
    COMPLETE = "complete"


_S = EventStatus
_TARGET: dict[Step, tuple[frozenset[EventStatus], EventStatus]] = {
    Step.PUBLISH: (frozenset({_S.DRAFT}), _S.PUBLISHED),
    Step.OPEN_SALES: (frozenset({_S.PUBLISHED}), _S.ON_SALE),
    Step.CLOSE_SALES: (frozenset({_S.ON_SALE, _S.SOLD_OUT}), _S.PUBLISHED),
    Step.CANCEL: (frozenset({_S.DRAFT, _S.PUBLISHED, _S.ON_SALE, _S.SOLD_OUT}), _S.CANCELLED),
    Step.COMPLETE: (frozenset({_S.PUBLISHED, _S.ON_SALE, _S.SOLD_OUT}), _S.COMPLETED),
}


def after(step: Step, status: EventStatus) -> EventStatus | Rejection:
    """The state that a step leads to from `status`, or why it is illegal."""
    sources, target = _TARGET[step]
    if status in sources:
        return target
    return Rejection(Reason.ILLEGAL_TRANSITION, {"from": status.value, "to": target.value})
