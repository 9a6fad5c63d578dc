"""How often the promo codes of a sale are used, as it is counted anew."""

from collections.abc import Iterable

from msgspec import Struct

from engine.commands import PromoTerms
from engine.purchase import PromoUsed
from engine.state import State


class _Uses(Struct, gc=False):
    code: str
    most: int | None
    used: int = 0


class Promos:
    """Of a code that was removed nothing is counted any more."""

    def __init__(self) -> None:
        self._by_id: dict[str, _Uses] = {}

    def configure(self, terms: Iterable[PromoTerms]) -> None:
        for promo in terms:
            known = self._by_id.setdefault(promo.promo_id, _Uses(promo.code, None))
            known.code, known.most = promo.code, promo.uses_max

    def remove(self, promo_id: str) -> None:
        self._by_id.pop(promo_id, None)

    def use(self, used: PromoUsed | None) -> str | None:
        """What is wrong with one more order that has it."""
        uses = self._of(used)
        if uses is None:
            return None
        uses.used += 1
        if uses.most is None or uses.used <= uses.most:
            return None
        return f"{uses.code} is used {uses.used} times, of {uses.most}"

    def give_back(self, used: PromoUsed | None) -> None:
        uses = self._of(used)
        if uses is not None:
            uses.used -= 1

    def differences(self, state: State) -> list[str]:
        counted = {promo_id: uses.used for promo_id, uses in self._by_id.items()}
        replayed = {promo_id: promo.used for promo_id, promo in state.promo_by_id.items()}
        return [
            f"{promo_id} is used {counted.get(promo_id)} times by the facts,"
            f" {replayed.get(promo_id)} by replay"
            for promo_id in {**counted, **replayed}
            if counted.get(promo_id) != replayed.get(promo_id)
        ]

    def _of(self, used: PromoUsed | None) -> _Uses | None:
        return self._by_id.get(used.promo_id) if used is not None else None
