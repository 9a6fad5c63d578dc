"""What the scenarios share: how users sign in, how far the run is, and the limits it ends with."""

from collections.abc import Mapping
from uuid import uuid4

import click
from locust import FastHttpUser, LoadTestShape, events
from locust.env import Environment

from loadtests.locust.told import told


class Shape(LoadTestShape):
    """How many users there are, by how much of the time has passed."""

    abstract = True

    def users(self, share: float) -> int:
        """`share`: in [0, 1)."""
        raise NotImplementedError

    def tick(self) -> tuple[int, float] | None:
        scenario = told()
        share = self.get_run_time() / scenario.seconds  # type: ignore[no-untyped-call]
        return (max(1, self.users(share)), scenario.users) if share < 1 else None


def sign_in(
    user: FastHttpUser, role: str, event_id: str | None = None, subject: str | None = None
) -> dict[str, str]:
    """The headers of somebody new."""
    subject = subject or f"{role}-{uuid4().hex[:12]}"
    asked = {"role": role, "subject": subject, "event_id": event_id}
    answer = user.client.post("/v1/dev/token", json=asked, name="sign in")
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def keyed(headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "Idempotency-Key": uuid4().hex}


def hold(limits_ms: Mapping[tuple[str, str], float]) -> None:
    """At the end: exit code 1 where a request failed, or a p99 by (method, name) is too high.

    A request of the limits that was never made breaks them, too.
    """

    def look(environment: Environment, **_: object) -> None:
        sentences = broken(environment, limits_ms)
        for sentence in sentences:
            click.echo(f"over the limit: {sentence}", err=True)
        environment.process_exit_code = 1 if sentences else 0

    events.quitting.add_listener(look)  # type: ignore[no-untyped-call]  # locust has none


def broken(environment: Environment, limits_ms: Mapping[tuple[str, str], float]) -> list[str]:
    """In sentences."""
    failed = environment.stats.total.num_failures
    found = [f"{failed} requests failed"] if failed else []
    for (method, name), limit_ms in limits_ms.items():
        entry = environment.stats.get(name, method)
        p99_ms = entry.get_response_time_percentile(0.99) if entry.num_requests else None
        if p99_ms is None or p99_ms > limit_ms:
            found.append(f"{name}: p99 {p99_ms} ms, at most {limit_ms:g} ms")
    return found
