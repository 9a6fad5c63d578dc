"""Two gateways and an engine beside one process that is both, with the same requests, in turns."""

import asyncio
import json
from collections import Counter

from msgspec import Struct

from benchmarks import generator
from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, stampede
from benchmarks.stage import event_on_sale, orders, placed_orders
from benchmarks.turns import expect, percentiles

SETTLE_S = 1.0


class Side(Struct):
    """One round of one side. `cpu_us`: of each process, by its name, a reservation."""

    per_second: float
    ms: dict[str, float]
    cpu_us: dict[str, float]
    order_ids: list[str]


class Report(Struct):
    """`apart` and `whole`: a side for each round."""

    apart: list[Side]
    whole: list[Side]


async def split(in_flight: int, seconds: float, rounds: int) -> Report:
    async with stampede("--gateways=2", "--engines=1") as apart, stampede() as whole:
        sides: dict[str, list[Side]] = {"apart": [], "whole": []}
        sale = {name: event_on_sale(server) for name, server in _named(apart, whole)}
        for _ in range(rounds):
            for name, server in _named(apart, whole):
                sides[name].append(await _side(server, sale[name], in_flight, seconds))
                await asyncio.sleep(SETTLE_S)
        for name, server in _named(apart, whole):
            seen = {order_id for side in sides[name] for order_id in side.order_ids}
            if not seen <= await placed_orders(server.dsn):
                raise SystemExit(f"{name}: answers of 201 are not in the journal")
        return Report(sides["apart"], sides["whole"])


def _named(apart: Endpoint, whole: Endpoint) -> list[tuple[str, Endpoint]]:
    return [("apart", apart), ("whole", whole)]


async def _side(server: Endpoint, sale: tuple[str, str], in_flight: int, seconds: float) -> Side:
    before = server.cpu_seconds_by_process()
    outcome = await generator.run(
        server.host,
        server.port,
        orders(*sale, server.token("box_office", "bench")),
        connections=in_flight,
        seconds=seconds,
        keep_status=201,
    )
    spent = Counter(server.cpu_seconds_by_process())
    spent.subtract(before)
    expect(outcome, 201)
    cpu_us = {name: s * 1e6 / len(outcome.bodies) for name, s in spent.items()}
    order_ids = [json.loads(body)["order_id"] for body in outcome.bodies]
    return Side(outcome.per_second, percentiles(outcome), cpu_us, order_ids)


async def measure(asked: Asked) -> list[Measurement]:
    report = await split(asked.in_flight, asked.seconds, asked.rounds_or(5))
    apart, whole = "two gateways, one engine", "one process"
    figures = [*_figures(apart, report.apart), *_figures(whole, report.whole)]
    conditions = (
        f"{asked.in_flight} in flight, closed loop, {asked.seconds:g} s a side and round, in turns;"
        " logs, metrics, snapshots and projector on; every answer found in the journal."
    )
    return [measured("gateways and engine apart", "./run bench split", conditions, figures)]


def _figures(what: str, sides: list[Side]) -> list[Figure]:
    figures = [Figure(f"{what}: durable reservations", "a second", [s.per_second for s in sides])]
    figures += [Figure(f"{what}: {p}", "ms", [s.ms[p] for s in sides]) for p in ("p50", "p99")]
    figures += [
        Figure(f"{what}: CPU of {name}", "µs a reservation", [s.cpu_us[name] for s in sides])
        for name in sorted(sides[0].cpu_us)
    ]
    total = [sum(side.cpu_us.values()) for side in sides]
    return [*figures, Figure(f"{what}: CPU of all", "µs a reservation", total)]
