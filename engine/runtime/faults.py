"""The world failed: exceptions, never a definite answer. The client sends the same key again."""


class Fault(Exception):
    """Nothing was decided for good; `retry_after_s` is when to ask again."""

    retry_after_s = 1


class MailboxFull(Fault):
    """More letters wait than can be answered in time."""


class MailboxUnavailable(Fault):
    """The way to the owner of the sale is cut; nothing was sent."""


class DeadlinePassed(Fault):
    """The letter waited so long that nobody listens any more; it was not decided."""


class NotOwner(Fault):
    """Another node owns the sale by now; nothing was decided."""


class SaleUnavailable(Fault):
    """The sale can't be loaded, or was stopped after repeated bugs; nothing was decided."""


class SaleDied(Fault):
    """A bug: this command killed the sale's actor. Nothing of it was kept; the sale is rebuilt."""


class JournalUnavailable(Fault):
    """The journal is away and has taken nothing."""


class OutcomeUnknown(Fault):
    """The append may have landed or not; the same key finds out."""
