"""The inventory of one tier: what it has, what is held, what is sold, and who may take how many.

    0 <= held, 0 <= sold, held + sold <= quantity

holds after every fact; a broken line is a bug and kills the actor.
"""

from msgspec import Struct

from engine.commands import TierTerms
from engine.rejections import Reason, Rejection


class Tier(Struct, array_like=True, gc=False):
    terms: TierTerms
    held: int = 0
    sold: int = 0
    waiting: int = 0  # places that those on its waitlist wait for

    @property
    def free(self) -> int:
        return self.terms.quantity - self.held - self.sold

    @property
    def public(self) -> int:
        """What anybody may take: nothing while somebody waits."""
        return 0 if self.waiting else self.free

    def on_sale(self, now_ms: int) -> bool:
        return self.terms.sale_start_ms <= now_ms < self.terms.sale_end_ms

    def hold(self, quantity: int) -> None:
        self.held += quantity
        self._check()

    def release(self, quantity: int) -> None:
        self.held -= quantity
        self._check()

    def sell_held(self, quantity: int) -> None:
        self.held -= quantity
        self.sold += quantity
        self._check()

    def sell_free(self, quantity: int) -> None:
        self.sold += quantity
        self._check()

    def take_back(self, quantity: int) -> None:
        self.sold -= quantity
        self._check()

    def wait(self, quantity: int) -> None:
        self.waiting += quantity
        self._check()

    def configure(self, terms: TierTerms) -> None:
        self.terms = terms
        self._check()

    def _check(self) -> None:
        assert self.held >= 0 and self.sold >= 0 and self.free >= 0 and self.waiting >= 0, self


def refuse_change(tier: Tier, terms: TierTerms) -> Rejection | None:
    committed = tier.held + tier.sold
    if terms.quantity < committed:
        return Rejection(
            Reason.BELOW_COMMITTED,
            {"tier_id": terms.tier_id, "requested": terms.quantity, "committed": committed},
        )
    return None
