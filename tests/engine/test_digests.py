"""A digest leads to its order, and to no other, however many there are."""

import random

from engine import ids
from engine.digests import PARTS, Digests
from tests.engine.stage import EVENT


def test_digests_are_found_until_they_are_removed() -> None:
    chance = random.Random(0)
    digests, wanted = Digests(EVENT), {}
    for _ in range(20_000):
        order_random, digest = chance.randbytes(10), chance.randbytes(16)
        digests.add(digest, order_random)
        wanted[digest] = ids.order_id(EVENT, order_random)
    assert len(digests) == len(wanted)
    assert {digest: digests.find(digest) for digest in wanted} == wanted
    for digest in list(wanted)[::2]:
        digests.remove(digest)
        del wanted[digest]
        assert digests.find(digest) is None
    assert len(digests) == len(wanted)
    assert {digest: digests.find(digest) for digest in wanted} == wanted


def test_bytes_that_look_like_a_digest_across_two_rows_are_none() -> None:
    digests = Digests(EVENT)
    digests.add(bytes(14), bytes(9) + b"\1")
    digests.add(b"\0" * 13 + b"\2", bytes(10))
    assert digests.find(bytes(14)) == ids.order_id(EVENT, bytes(9) + b"\1")
    assert digests.find(b"\0" * 13 + b"\2") == ids.order_id(EVENT, bytes(10))
    assert digests.find(b"\0" * 12 + b"\1\0") is None
    digests.remove(bytes(14))
    assert digests.find(bytes(14)) is None
    assert digests.find(b"\0" * 13 + b"\2") == ids.order_id(EVENT, bytes(10))


def test_what_was_looked_for_in_vain_is_found_once_it_is_there() -> None:
    for_one, for_many = Digests(EVENT), Digests(EVENT)
    assert for_one.find(bytes(14)) is for_many.find(bytes(14)) is None
    for_one.add(bytes(14), bytes(10))
    for_many.fill(0, [bytes(13) + bytes(10)])
    assert for_one.find(bytes(14)) == for_many.find(bytes(14)) == ids.order_id(EVENT, bytes(10))


def test_of_a_longer_digest_the_first_bytes_count() -> None:
    digests = Digests(EVENT)
    digests.add(bytes(range(32)), bytes(10))
    assert digests.find(bytes(range(32))) == ids.order_id(EVENT, bytes(10))


def test_many_at_once_are_found_as_if_they_came_one_by_one() -> None:
    chance = random.Random(1)
    at_once, one_by_one = Digests(EVENT), Digests(EVENT)
    rows: list[list[bytes]] = [[] for _ in range(PARTS)]
    wanted = {}
    for number in range(5_000):
        order_random, digest = chance.randbytes(10), chance.randbytes(16)
        one_by_one.add(digest, order_random)
        wanted[digest] = ids.order_id(EVENT, order_random)
        if number < 100:
            at_once.add(digest, order_random)
        else:
            rows[digest[0]].append(digest[1:14] + order_random)
    for part in range(PARTS):
        at_once.fill(part, rows[part])
    assert len(at_once) == len(one_by_one)
    first, second, *_ = wanted
    for digests in (at_once, one_by_one):  # before any of their part was asked for
        digests.remove(first)
        digests.add(first, bytes(10))
        digests.add(bytes(14), bytes(10))
        assert digests.find(bytes(14)) == digests.find(first) == ids.order_id(EVENT, bytes(10))
        digests.remove(bytes(14))
        digests.remove(second)
        assert digests.find(second) is None
    del wanted[first], wanted[second]
    assert {digest: at_once.find(digest) for digest in wanted} == wanted
    assert len(at_once) == len(one_by_one) == len(wanted) + 1
