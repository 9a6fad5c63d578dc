"""What gateways would ask: commands with ids and keys that never repeat, drawn from one seed."""

from random import Random

from engine import commands as c
from engine import ids
from engine.money import total_minor
from engine.order import OrderView
from engine.ticket import token_digest
from tests.runtime.virtual_time import NOON_MS

FLOOR = "tier_floor"
BALCONY = "tier_balcony"

SECOND_MS = 1000
HOUR_MS = 3600 * SECOND_MS
HOLD_MS = 600 * SECOND_MS

ADMIN = c.Caller(c.Role.ADMIN, "")


def sale_id(number: int) -> str:
    return ids.event_id(number.to_bytes(ids.EVENT_RANDOM_BYTES))


def sale_in_shard(shard_id: int, shards: int, nth: int = 0) -> str:
    """The `nth` sale that lives in this shard."""
    found = [s for s in map(sale_id, range(1, 1000)) if ids.shard_of(s, shards) == shard_id]
    return found[nth]


HALF = c.PromoTerms("prm_half", "HALF", c.PromoKind.PERCENT, 50, (), None, None, None, False)


class Desk:
    def __init__(self, seed: int = 0) -> None:
        self._chance = Random(seed)

    def random(self, size: int) -> bytes:
        return self._chance.randbytes(size)

    def key(self) -> c.Key:
        return c.Key(self.random(16), self.random(16))

    def open_sale(
        self, quantity: int = 10, price_minor: int = 5000, promos: tuple[c.PromoTerms, ...] = ()
    ) -> c.OpenSale:
        """Two tiers of that quantity each, on sale, the doors open."""
        tiers = tuple(
            c.TierTerms(tier_id, tier_id, price_minor, quantity, 0, NOON_MS * 2, 6)
            for tier_id in (FLOOR, BALCONY)
        )
        terms = c.EventTerms("organizer", "EUR", NOON_MS + HOUR_MS, NOON_MS + 4 * HOUR_MS)
        return c.OpenSale(1, terms, tiers, (), promos)

    def place(
        self,
        sale: str,
        quantity: int = 1,
        *,
        tier_id: str = FLOOR,
        key: c.Key | None = None,
        hold_ms: int = HOLD_MS,
        personal_key: bytes | None = None,
        buyer_id: str = "buyer",
        offer_id: str | None = None,
        promo_code: str | None = None,
    ) -> c.PlaceOrder:
        return c.PlaceOrder(
            ids.order_id(sale, self.random(ids.ORDER_RANDOM_BYTES)),
            buyer_id,
            (c.Selection(tier_id, quantity),),
            None,
            hold_ms,
            key or self.key(),
            b"sealed" if personal_key else None,
            personal_key,
            offer_id,
            promo_code,
        )

    def join(
        self, sale: str, quantity: int, *, tier_id: str, buyer_id: str, offer_ms: int
    ) -> c.JoinWaitlist:
        entry_id = ids.entry_id(sale, self.random(ids.ORDER_RANDOM_BYTES))
        return c.JoinWaitlist(entry_id, tier_id, buyer_id, quantity, offer_ms, self.key())

    def deadly(self, sale: str) -> c.PlaceOrder:
        """What no gateway lets through: it breaks the inventory halfway, which kills the actor."""
        lines = (c.Selection(FLOOR, 1), c.Selection(BALCONY, -10_000))
        order_id = ids.order_id(sale, self.random(ids.ORDER_RANDOM_BYTES))
        return c.PlaceOrder(order_id, "buyer", lines, None, HOLD_MS, self.key())

    def read(self, order_id: str) -> c.ReadOrder:
        return c.ReadOrder(order_id, ADMIN)

    def request_payment(self, order_id: str, key: c.Key | None = None) -> c.RequestPayment:
        payment_id = ids.payment_id(order_id, self.random(ids.PAYMENT_RANDOM_BYTES))
        return c.RequestPayment(
            order_id, ADMIN, payment_id, "card", self.random(32), key or self.key()
        )

    def confirm(self, order: OrderView) -> c.ConfirmOrder:
        assert order.payment_id is not None
        amount_minor = total_minor(order.items)
        refund_id = ids.refund_id(order.order_id, self.random(ids.PAYMENT_RANDOM_BYTES))
        return c.ConfirmOrder(
            order.order_id, order.payment_id, amount_minor, self.random(32), refund_id
        )

    def cancel(self, order_id: str) -> c.CancelOrder:
        return c.CancelOrder(order_id, ADMIN)

    def check_in(self, token: bytes, *, device_id: str = "device") -> c.CheckIn:
        nonce = self.random(8).hex()
        return c.CheckIn(
            device_id, nonce, token_digest(token), "north", None, 4 * HOUR_MS, elsewhere=False
        )
