"""What every journal must do. A subclass offers the fixtures and runs where its journal runs.

`journal` and `rival` are two connections to one empty journal; `unfenced` are two of one whose
fence is off: with that the race below must go wrong, or it proves nothing.
"""

from collections.abc import Sequence

import pytest

from engine import commands as c
from engine import facts as f
from engine import ids
from engine.runtime.ports import Batch, Grant, Journal

SHARD, OTHER_SHARD = 3, 5
SALE, OTHER_SALE = "evt_00000000000000aa", "evt_00000000000000bb"


def order_id(number: int, sale_id: str = SALE) -> str:
    return ids.order_id(sale_id, number.to_bytes(ids.ORDER_RANDOM_BYTES))


def placed(number: int, sale_id: str = SALE) -> f.Entry:
    """The sale's `number`-th fact: an order that holds its place."""
    items = (f.Item("tier_floor", 1, 5000),)
    key = c.Key(number.to_bytes(16), bytes(16))
    order = f.OrderPlaced(
        order_id(number, sale_id), "buyer", items, "EUR", 1000, 2000, key, sealed=b"name"
    )
    return f.Entry(sale_id, number, 1000, order)


def cancelled(number: int, order_number: int, sale_id: str = SALE) -> f.Entry:
    reason = f.CancelReason.BUYER
    return f.Entry(sale_id, number, 1001, f.OrderCancelled(order_id(order_number, sale_id), reason))


def batch(grant: Grant, seq: int, *entries: f.Entry) -> Batch:
    return Batch(grant.shard_id, grant.epoch, seq, entries)


async def history(journal: Journal, sale_id: str = SALE, shard_id: int = SHARD) -> list[Batch]:
    return [found async for found in journal.suffix(shard_id, sale_id, 0)]


def audit(batches: Sequence[Batch]) -> None:
    """One writer an epoch, no gaps: of a shard's journal from its beginning."""
    assert [b.seq for b in batches] == list(range(1, len(batches) + 1))
    epochs = [b.epoch for b in batches]
    assert epochs == sorted(epochs)


class JournalContract:
    @pytest.fixture
    def journal(self) -> Journal:
        raise NotImplementedError

    @pytest.fixture
    def rival(self) -> Journal:
        raise NotImplementedError

    @pytest.fixture
    def unfenced(self) -> tuple[Journal, Journal]:
        raise NotImplementedError

    async def test_a_new_journal_is_granted_from_its_beginning(self, journal: Journal) -> None:
        grants = await journal.acquire([SHARD, OTHER_SHARD])
        assert sorted((g.shard_id, g.last_seq) for g in grants) == [(SHARD, 0), (OTHER_SHARD, 0)]

    async def test_what_was_appended_is_read_as_it_was_written(self, journal: Journal) -> None:
        grant = await _acquired(journal)
        first = batch(grant, 1, placed(1), placed(2))
        second = batch(grant, 2, cancelled(3, 1))
        assert await journal.append([first]) == {SHARD}
        assert await journal.append([second]) == {SHARD}
        assert await history(journal) == [first, second]

    async def test_a_grant_tells_where_the_journal_ends(
        self, journal: Journal, rival: Journal
    ) -> None:
        await _write_three(journal)
        assert (await _acquired(rival)).last_seq == 3

    async def test_a_gap_is_refused(self, journal: Journal) -> None:
        grant = await _acquired(journal)
        assert await journal.append([batch(grant, 2, placed(1))]) == frozenset()
        assert await history(journal) == []

    async def test_the_same_batch_sent_twice_is_written_once(self, journal: Journal) -> None:
        sent = batch(await _acquired(journal), 1, placed(1))
        assert await journal.append([sent]) == {SHARD}
        assert await journal.append([sent]) == frozenset()
        assert await history(journal) == [sent]

    async def test_each_grant_has_a_higher_epoch(self, journal: Journal, rival: Journal) -> None:
        epochs = [(await _acquired(owner)).epoch for owner in (journal, rival, journal, rival)]
        assert epochs == sorted(set(epochs))

    async def test_an_owner_that_was_taken_over_writes_nothing(
        self, journal: Journal, rival: Journal
    ) -> None:
        grant = await _acquired(journal)
        await _acquired(rival)
        assert await journal.append([batch(grant, 1, placed(1))]) == frozenset()
        assert await history(rival) == []

    async def test_the_new_owner_goes_on_where_the_old_one_ended(
        self, journal: Journal, rival: Journal
    ) -> None:
        await _write_three(journal)
        grant = await _acquired(rival)
        assert await rival.append([batch(grant, 4, placed(4))]) == {SHARD}
        audit(await history(rival))

    async def test_an_epoch_that_was_never_granted_writes_nothing(self, journal: Journal) -> None:
        grant = await _acquired(journal)
        dreamt = Grant(SHARD, grant.epoch + 1, 0)
        assert await journal.append([batch(dreamt, 1, placed(1))]) == frozenset()

    async def test_one_append_carries_several_shards_each_fenced_on_its_own(
        self, journal: Journal, rival: Journal
    ) -> None:
        mine, lost = sorted(
            await journal.acquire([SHARD, OTHER_SHARD]), key=lambda grant: grant.shard_id
        )
        await rival.acquire([OTHER_SHARD])
        batches = [batch(mine, 1, placed(1)), batch(lost, 1, placed(1, OTHER_SALE))]
        assert await journal.append(batches) == {SHARD}
        assert await history(journal) == batches[:1]
        assert await history(journal, OTHER_SALE, OTHER_SHARD) == []

    async def test_personal_keys_are_written_with_their_batch(self, journal: Journal) -> None:
        grant = await _acquired(journal)
        keys = ((order_id(1), b"k" * 32), (order_id(2), b"l" * 32))
        sent = Batch(SHARD, grant.epoch, 1, (placed(1), placed(2)), keys)
        assert await journal.append([sent]) == {SHARD}
        assert sorted(await self.personal_keys(journal)) == sorted(keys)

    async def test_personal_keys_of_a_fenced_batch_are_not_written(
        self, journal: Journal, rival: Journal
    ) -> None:
        grant = await _acquired(journal)
        await _acquired(rival)
        sent = Batch(SHARD, grant.epoch, 1, (placed(1),), ((order_id(1), b"k" * 32),))
        await journal.append([sent])
        assert await self.personal_keys(journal) == []

    async def personal_keys(self, journal: Journal) -> list[tuple[str, bytes]]:
        """All (order id, key) that are stored."""
        raise NotImplementedError

    async def test_a_suffix_has_only_what_names_the_sale_and_comes_after(
        self, journal: Journal
    ) -> None:
        grant = await _acquired(journal)
        batches = [
            batch(grant, 1, placed(1)),
            batch(grant, 2, placed(1, OTHER_SALE)),
            batch(grant, 3, placed(2, OTHER_SALE), placed(2)),
            batch(grant, 4, placed(3)),
        ]
        for sent in batches:
            await journal.append([sent])
        assert [b async for b in journal.suffix(SHARD, SALE, 1)] == batches[2:]
        assert [b async for b in journal.suffix(SHARD, SALE, 4)] == []

    async def test_a_long_suffix_is_whole_and_in_order(self, journal: Journal) -> None:
        grant = await _acquired(journal)
        for seq in range(1, 601):
            await journal.append([batch(grant, seq, placed(seq))])
        assert [b.seq for b in await history(journal)] == list(range(1, 601))

    async def test_landed_knows_what_was_written_by_whom(
        self, journal: Journal, rival: Journal
    ) -> None:
        grant = await _acquired(journal)
        landed, fenced = batch(grant, 1, placed(1)), batch(grant, 2, placed(2))
        await journal.append([landed])
        successor = await _acquired(rival)
        await rival.append([batch(successor, 2, placed(2))])
        assert await journal.append([fenced]) == frozenset()
        assert await journal.landed(landed)
        assert not await journal.landed(fenced)
        assert not await journal.landed(batch(grant, 3, placed(3)))

    async def test_unsettled_misses_no_sale_with_a_pending_hold(self, journal: Journal) -> None:
        mine, other = sorted(
            await journal.acquire([SHARD, OTHER_SHARD]), key=lambda grant: grant.shard_id
        )
        await journal.append([batch(mine, 1, placed(1)), batch(other, 1, placed(1, OTHER_SALE))])
        await journal.append([batch(mine, 2, placed(2), cancelled(3, 1))])
        assert {SALE, OTHER_SALE} <= set(await journal.unsettled([SHARD, OTHER_SHARD]))

    async def test_without_the_fence_the_audit_sees_the_old_owner_write(
        self, unfenced: tuple[Journal, Journal]
    ) -> None:
        journal, rival = unfenced
        grant = await _acquired(journal)
        successor = await _acquired(rival)
        await rival.append([batch(successor, 1, placed(1))])
        await journal.append([batch(grant, 2, placed(2))])
        with pytest.raises(AssertionError):
            audit(await history(rival))


async def _acquired(journal: Journal) -> Grant:
    return (await journal.acquire([SHARD]))[0]


async def _write_three(journal: Journal) -> None:
    grant = await _acquired(journal)
    for seq in (1, 2, 3):
        await journal.append([batch(grant, seq, placed(seq))])
