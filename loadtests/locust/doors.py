"""The doors open: a fleet of scanners, most of it at once, and fewer as the crowd thins out.

Of ten scans nine are of tickets not seen before; the others of one that is in already, or of a
token that somebody has made up. Some gates lose their network again and again: they judge by their
manifest, and tell of it when they are back. A wrong answer is a failure, as is a slow one.
"""

from collections import deque
from datetime import UTC, datetime
from hashlib import sha256
from random import choice, random, uniform
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from locust import FastHttpUser, constant, task
from locust.exception import StopUser

from loadtests.locust.scenario import Shape, hold, sign_in
from loadtests.locust.told import told

SCANNED_AGAIN, MADE_UP = 0.07, 0.03
CHECK_IN_P99_MS_MAX = 200
MANIFEST_P99_MS_MAX = 2_500  # it waits until the tables have what had happened when it was asked
SYNC_P99_MS_MAX = 1_000
OPENING = 0.6  # of the time every scanner is at work, then half of them
AWAY_S = (1.0, 4.0)
SCANS_AWAY_A_SECOND = 5
COPIES_AWAY = 0.05

hold(
    {
        ("POST", "check-in"): CHECK_IN_P99_MS_MAX,
        ("GET", "manifest"): MANIFEST_P99_MS_MAX,
        ("POST", "sync"): SYNC_P99_MS_MAX,
    }
)

_outside: deque[str] = deque(told().tokens)
_inside: list[str] = []


class DoorsOpen(Shape):
    def users(self, share: float) -> int:
        return told().users if share < OPENING else told().users // 2


class Scanner(FastHttpUser):
    weight = 9
    wait_time = constant(0.02)

    def on_start(self) -> None:
        self.event = f"/v1/events/{told().event_id}"
        self.headers = sign_in(self, "scanner", told().event_id)

    @task
    def scan(self) -> None:
        chance = random()
        if chance < MADE_UP:
            self._scan(str(uuid4()), "INVALID")
        elif chance < MADE_UP + SCANNED_AGAIN and _inside:
            self._scan(choice(_inside), "ALREADY_ADMITTED")
        elif _outside:
            token = _outside.popleft()
            self._scan(token, "ADMIT")
            _inside.append(token)
        else:
            raise StopUser

    def _scan(self, token: str, result: str) -> None:
        body = {"token": token, "nonce": uuid4().hex, "gate": "North"}
        path = f"{self.event}/checkins"
        call = self.client.post(
            path, json=body, headers=self.headers, name="check-in", catch_response=True
        )
        with call as answer:
            if answer.status_code == 200 and answer.json()["result"] != result:
                answer.failure(f"{answer.json()['result']} instead of {result}")


class GateWithoutNetwork(FastHttpUser):
    """What others have let in it lets in again now and then, as it can't know."""

    weight = 1
    fixed_count = 2  # there are some, however few the users
    wait_time = constant(0.5)

    def on_start(self) -> None:
        self.event = f"/v1/events/{told().event_id}"
        self.device = f"gate-{uuid4().hex[:12]}"
        self.headers = sign_in(self, "scanner", told().event_id, self.device)
        self.cursor = ""
        self.worth: dict[str, str] = {}
        self.had: set[str] = set()

    @task
    def go_away_and_come_back(self) -> None:
        self._refresh()
        ends_s = monotonic() + uniform(*AWAY_S)
        scans: list[dict[str, Any]] = []
        expected: dict[str, str] = {}
        let_in: list[str] = []
        while monotonic() < ends_s:
            sleep(1 / SCANS_AWAY_A_SECOND)
            copy = bool(_inside) and random() < COPIES_AWAY
            if not (copy or _outside):
                break
            token = choice(_inside) if copy else _outside.popleft()
            if token in self.had:
                continue
            if self.worth.get(sha256(token.encode()).hexdigest()) != "VALID" and not copy:
                _outside.append(token)  # sold since: another gate's
                continue
            self.had.add(token)
            let_in += [] if copy else [token]
            scans.append(self._noted(token))
            expected[scans[-1]["nonce"]] = "conflict" if copy else "recorded"
        if scans:
            self._tell(scans, expected)
        _inside.extend(let_in)
        if not _outside:
            raise StopUser

    def _refresh(self) -> None:
        path = f"{self.event}/manifest{self.cursor}"
        headers = {**self.headers, "Accept-Encoding": "gzip"}
        with self.client.get(path, headers=headers, name="manifest", catch_response=True) as answer:
            if answer.status_code != 200:
                return
            found = answer.json()
        if found["full"]:
            self.worth = {}
        self.worth |= {digest: status for digest, _, status in found["tickets"]}
        self.cursor = f"?cursor={found['cursor']}"

    def _noted(self, token: str) -> dict[str, Any]:
        at = datetime.now(UTC).isoformat()
        return {"token": token, "nonce": uuid4().hex, "scanned_at": at, "result": "ADMIT"}

    def _tell(self, scans: list[dict[str, Any]], expected: dict[str, str]) -> None:
        sent_at = datetime.now(UTC).isoformat()
        body = {"device_id": self.device, "sent_at": sent_at, "scans": scans}
        path = f"{self.event}/checkins/sync"
        call = self.client.post(
            path, json=body, headers=self.headers, name="sync", catch_response=True
        )
        with call as answer:
            if answer.status_code != 200:
                return
            heard = {r["nonce"]: r["outcome"] for r in answer.json()["results"]}
            if heard != expected:
                answer.failure(f"{sum(heard[n] != expected[n] for n in expected)} wrong outcomes")
