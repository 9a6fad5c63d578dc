"""The doors: a fleet of scanners that lets in every ticket once, and nothing else.

Among the tickets are copies of them at other doors, tokens that never were, and tickets of other
events; now and then a device sends a scan again because it did not hear the answer.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from random import Random
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from loadtests.api import Caller, patiently, sign_in
from loadtests.catalogue import OnSale
from loadtests.client import Answer, Client, NoAnswer
from loadtests.seen import ScanKey, Seen, SeenScan
from loadtests.tally import Done, Tally

DEVICES = 20
COPIES = 0.05
FALSE_TOKENS = 0.01
WRONG_EVENT_MAX = 50
ASKED_AGAIN = 0.03


class Kind(StrEnum):
    GOOD = "good"
    FALSE = "false"
    OTHER_EVENT = "of another event"


class Shown(Struct, frozen=True):
    """A token that somebody shows at a door."""

    token: str
    kind: Kind


def queues(tokens: Sequence[str], others: Sequence[str], random: Random) -> list[list[Shown]]:
    """Who comes to which device, in what order. A copy comes to another device than its ticket."""
    queue_by_device: list[list[Shown]] = [[] for _ in range(DEVICES)]
    for token in tokens:
        devices = random.sample(queue_by_device, 2)
        for queue in devices if random.random() < COPIES else devices[:1]:
            queue.append(Shown(token, Kind.GOOD))
    false = [
        Shown(str(UUID(int=random.getrandbits(128), version=4)), Kind.FALSE)
        for _ in range(max(1, int(len(tokens) * FALSE_TOKENS)))
    ]
    strays = [Shown(token, Kind.OTHER_EVENT) for token in others[:WRONG_EVENT_MAX]]
    for shown in false + strays:
        random.choice(queue_by_device).append(shown)
    for queue in queue_by_device:
        random.shuffle(queue)
    return queue_by_device


class Device:
    """One scanner: a scan at a time, as a person at a gate works."""

    def __init__(
        self, client: Client, event: OnSale, caller: Caller, seen: Seen, tally: Tally, seed: int
    ) -> None:
        self._client = client
        self._event = event
        self._caller = caller
        self._seen = seen
        self._tally = tally
        self._random = Random(seed)

    async def works(self, queue: Sequence[Shown]) -> None:
        for shown in queue:
            try:
                await self._scan(shown)
            except NoAnswer:
                self._tally.done[Done.GAVE_UP] += 1

    async def _scan(self, shown: Shown) -> None:
        key = ScanKey(self._event.event_id, self._caller.subject, uuid4().hex)
        scan = self._answered(await self._ask(key, shown.token))
        if self._random.random() < ASKED_AGAIN:
            await self._ask(key, shown.token)  # the record compares the answers
            self._tally.done[Done.REPLAYED] += 1
        match (shown.kind, scan.result, scan.reason):
            case (Kind.GOOD, "ADMIT", None):
                self._tally.done[Done.ADMITTED] += 1
            case (Kind.GOOD, "ALREADY_ADMITTED", None):
                self._tally.done[Done.ALREADY] += 1
            case (Kind.FALSE, "INVALID", "unknown_token"):
                self._tally.done[Done.INVALID] += 1
            case (Kind.OTHER_EVENT, "INVALID", "wrong_event"):
                self._tally.done[Done.INVALID] += 1
            case _:
                self._tally.surprised(f"a {shown.kind} token: {scan.result} {scan.reason}")

    async def _ask(self, key: ScanKey, token: str) -> Answer:
        path = f"/v1/events/{self._event.event_id}/checkins"
        body = msgspec.json.encode({"token": token, "nonce": key.nonce, "gate": "main"})

        async def attempt() -> Answer:
            self._seen.scans(key)
            answer = await self._client.request(
                "POST", path, body, self._caller.headers, kind="scan"
            )
            self._seen.answered_scan(key, token, answer)
            return answer

        return await patiently(attempt)

    def _answered(self, answer: Answer) -> SeenScan:
        if answer.status != 200:
            return SeenScan(f"status {answer.status}")
        return msgspec.json.decode(answer.body, type=SeenScan)


async def admit_all(
    client: Client,
    event: OnSale,
    tokens: Sequence[str],
    others: Sequence[str],
    seen: Seen,
    tally: Tally,
    random: Random,
) -> None:
    callers = await asyncio.gather(
        *(sign_in(client, "scanner", f"scanner-{n:02}", event.event_id) for n in range(DEVICES))
    )
    devices = [
        Device(client, event, caller, seen, tally, random.getrandbits(64)) for caller in callers
    ]
    pairs = zip(devices, queues(tokens, others, random), strict=True)
    await asyncio.gather(*(device.works(queue) for device, queue in pairs))
