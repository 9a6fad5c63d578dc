"""A digest leads to its order and number, and to no other, however many there are."""

import random

from engine import ids
from engine.digests import Digests
from tests.engine.stage import EVENT


def test_digests_are_found_until_they_are_removed() -> None:
    chance = random.Random(0)
    digests, wanted = Digests(EVENT), {}
    for number in range(20_000):
        order_random, digest = chance.randbytes(10), chance.randbytes(16)
        digests.add(digest, order_random, number)
        wanted[digest] = (ids.order_id(EVENT, order_random), number)
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
    digests.add(bytes(16), bytes(9) + b"\1")
    digests.add(b"\0" * 15 + b"\2", bytes(10), 7)
    assert digests.find(bytes(16)) == (ids.order_id(EVENT, bytes(9) + b"\1"), 0)
    assert digests.find(b"\0" * 15 + b"\2") == (ids.order_id(EVENT, bytes(10)), 7)
    assert digests.find(b"\0" * 14 + b"\1\0") is None
    digests.remove(bytes(16))
    assert digests.find(bytes(16)) is None
    assert digests.find(b"\0" * 15 + b"\2") == (ids.order_id(EVENT, bytes(10)), 7)


def test_of_a_longer_digest_the_first_bytes_count() -> None:
    digests = Digests(EVENT)
    digests.add(bytes(range(32)), bytes(10), 3)
    assert digests.find(bytes(range(32))) == (ids.order_id(EVENT, bytes(10)), 3)
