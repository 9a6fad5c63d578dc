"""A storm of payments with every fault of the bank and two kills: is the money where it should be?

Not a speed but a promise: it raises where the bank's ledger and the journal do not tell the same.
"""

import click

from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import fresh_folder
from loadtests.storm import FAULT_SHARES, HOLD_S, PRICE_MINOR, storm
from tests.server import running

BUYERS = 2_300  # some find nothing left: two thousand orders it is, or more
SEED = 1


async def measure(asked: Asked) -> list[Measurement]:
    settings = {"STAMPEDE_ORDER_HOLD_SECONDS": str(HOLD_S), "STAMPEDE_LOG": "off"}
    async with fresh_folder() as folder, running(folder / "data", settings) as server:
        outcome = await storm(server, BUYERS, SEED, click.echo)
    if outcome.wrong:
        raise SystemExit("\n".join(outcome.wrong[:20]))
    faults = ", ".join(f"{name} {count}" for name, count in outcome.faults.items())
    plans = ", ".join(f"{count} {plan}" for plan, count in sorted(outcome.plans.items()))
    conditions = (
        f"Seed {SEED}; holds of {HOLD_S} s, tickets of {PRICE_MINOR} minor units; the node killed"
        f" with -9 after a third of {BUYERS:,} buyers, all of it after two thirds. Buyers: {plans}."
        f" Payments with each of {len(FAULT_SHARES)} faults: {faults}. By the sandbox's own ledger"
        " each payment is in live tickets or went back, none twice; no order has places unpaid."
    )
    kept = outcome.taken_minor - outcome.sent_back_minor
    figures = [
        Figure("orders", "", [outcome.orders]),
        Figure("money taken", "minor units", [outcome.taken_minor]),
        Figure("of it in live tickets", "minor units", [kept]),
        Figure("of it sent back", "minor units", [outcome.sent_back_minor]),
        Figure("disagreements of bank and journal", "", [0]),
        Figure("until all is settled", "s", [outcome.seconds]),
    ]
    return [measured("storm of payments", "./run bench storm", conditions, figures)]
