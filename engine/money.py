"""Amounts: integers in the minor unit of one currency, never floats. What is split adds up."""

from collections.abc import Iterable, Sequence

from engine.purchase import Item


def subtotal_minor(item: Item) -> int:
    """Before any discount."""
    return item.quantity * item.unit_price_minor


def total_minor(items: Iterable[Item]) -> int:
    return sum([item.quantity * item.unit_price_minor - item.discount_minor for item in items])


def discount_minor(items: Iterable[Item]) -> int:
    return sum([item.discount_minor for item in items])


def place_minor(item: Item, place: int) -> int:
    """What the `place`-th place of an item has cost, from 0: equal but for single units."""
    paid = subtotal_minor(item) - item.discount_minor
    return paid * (place + 1) // item.quantity - paid * place // item.quantity


def shares(amount: int, weights: Sequence[int]) -> list[int]:
    """`amount` in proportion to `weights`, by largest remainder (Hamilton's method; of equal ones
    the first). Where it is not more than all weights together, no share is more than its weight.
    """
    total = sum(weights)
    if not total:
        return [0 for _ in weights]
    parts = [amount * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(amount * weights[i] % total))
    for i in by_remainder[: amount - sum(parts)]:
        parts[i] += 1
    return parts
