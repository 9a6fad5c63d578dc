"""The check of what a way to sell has kept: planted losses and oversells must show."""

from benchmarks.baselines.books import Kept
from benchmarks.promises import Verdict, verdict


def test_an_honest_shop_is_found_honest() -> None:
    books = Kept(frozenset({"a", "b", "unseen"}), 6, 4)
    assert verdict(10, {"a": 2, "b": 2}, books) == Verdict(2, 0, 0, 0)


def test_an_order_that_is_not_in_the_books_is_lost_and_its_places_astray() -> None:
    books = Kept(frozenset({"a"}), 2, 6)
    assert verdict(10, {"a": 2, "b": 2}, books) == Verdict(2, 1, 0, 2)


def test_more_sold_than_there_was_is_an_oversell_whatever_the_stock_says() -> None:
    books = Kept(frozenset({"a", "b"}), 12, 0)
    assert verdict(10, {"a": 6, "b": 6}, books).oversold == 2


def test_places_sold_again_after_their_order_was_lost_are_oversold() -> None:
    books = Kept(frozenset({"b"}), 10, 0)
    assert verdict(10, {"a": 4, "b": 10}, books) == Verdict(2, 1, 4, 0)


def test_a_stock_that_offers_what_is_sold_shows_it() -> None:
    assert verdict(10, {"a": 4}, Kept(frozenset({"a"}), 4, 8)).astray == -2
