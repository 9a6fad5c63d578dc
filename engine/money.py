"""Amounts: integers in the minor unit of one currency, never floats."""

from collections.abc import Iterable

from engine.purchase import Item


def subtotal_minor(item: Item) -> int:
    return item.quantity * item.unit_price_minor


def total_minor(items: Iterable[Item]) -> int:
    return sum([item.quantity * item.unit_price_minor for item in items])
