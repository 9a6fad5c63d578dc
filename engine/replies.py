"""What a sale answers: views of a moment, facts, or a Rejection. Data only."""

from msgspec import Struct

from engine.facts import Fact, OrderPlaced, WaitlistJoined
from engine.order import OrderView
from engine.rejections import Rejection
from engine.scan import DoorsView, ScanView, SyncView
from engine.state import Archived, SaleView
from engine.waiter import EntryView

View = (
    OrderPlaced
    | OrderView
    | ScanView
    | SyncView
    | DoorsView
    | SaleView
    | Archived
    | WaitlistJoined
    | EntryView
)


class Replayed(Struct, frozen=True, tag=True, array_like=True):
    """The first answer to this idempotency key or nonce, again."""

    view: View


Reply = View | Replayed | Rejection | None
Decision = list[Fact] | Reply
