"""A promo code of a sale: its terms, and how many orders have it."""

from msgspec import Struct

from engine.commands import PromoTerms


class Promo(Struct, array_like=True, gc=False):
    """`used`: by orders that hold their places or have been confirmed."""

    terms: PromoTerms
    used: int = 0

    @property
    def left(self) -> int | None:
        """How often it may be used still; None: without end."""
        most = self.terms.uses_max
        return None if most is None else max(0, most - self.used)
