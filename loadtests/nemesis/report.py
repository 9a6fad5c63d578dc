"""The report of a run: on the terminal, as JSON for programs, as Markdown and HTML for people."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from loadtests.nemesis.liveness import Recovery, Struck, recovery
from loadtests.nemesis.picture import Row, page
from loadtests.nemesis.run import Outcome
from loadtests.nemesis.witness import Came

NAME = "nemesis-report"

# Said rather than kept quiet: what was left out for want of means, or of a wish.
APART = "Each node in a network namespace of its own: packets were lost, and proxies failed."
NOT_RUN = "Not run: network namespaces. Partitions are made by proxies that tell nodes apart."


def lines(outcome: Outcome) -> Iterator[str]:
    """Figures, what speaks against it, the verdict."""
    yield from (line for check in outcome.checks for line in check.lines())
    for what, count in outcome.witness.surprises.most_common():
        yield f"  {count} times: {what}"
    yield _summary(outcome)
    yield network(outcome)
    yield verdict(outcome)


def network(outcome: Outcome) -> str:
    return APART if outcome.plan.apart else NOT_RUN


def verdict(outcome: Outcome) -> str:
    if outcome.plan.fenced:
        return "every promise held" if outcome.as_it_must else "a promise is BROKEN"
    if outcome.as_it_must:
        return "the fence was off and the journal is ruined, as it must be"
    return "the fence was off and the journal is whole: the verdict is worth NOTHING"


def _summary(outcome: Outcome) -> str:
    witness = outcome.witness
    done = [fault for fault in outcome.struck if fault.missed is None]
    kinds = {fault.plan.kind for fault in done}
    calm = witness.seconds[: int(outcome.took_s)]
    offered = sum(second.offered for second in calm)
    late_s = max((second.late_s for second in calm), default=0.0)
    nothing = sum(second.came[Came.NOTHING] for second in calm)
    return (
        f"{len(done)} faults of {len(kinds)} kinds in {outcome.took_s:.0f} s;"
        f" {offered} requests offered, {offered / outcome.took_s:.0f} a second,"
        f" {nothing} without an answer; {witness.unknown} given up undecided;"
        f" visitors came {late_s:.1f} s late at worst"
    )


def write(outcome: Outcome) -> list[Path]:
    """Into the data folder; where."""
    in_order = sorted(outcome.struck, key=lambda fault: fault.plan.number)
    rows = [(fault, _recovery(outcome, fault)) for fault in in_order]
    folder = outcome.plan.folder
    contents = {
        folder / f"{NAME}.json": msgspec.json.format(msgspec.json.encode(_document(outcome, rows))),
        folder / f"{NAME}.md": "\n".join(_markdown(outcome, rows)).encode(),
        folder / f"{NAME}.html": page(outcome, verdict(outcome), rows).encode(),
    }
    for path, content in contents.items():
        path.write_bytes(content)
    return list(contents)


def _recovery(outcome: Outcome, fault: Struck) -> Recovery | None:
    if fault.missed is not None:
        return None
    durable = {name: outcome.witness.durable_by_event[name] for name in outcome.steady}
    return recovery(fault, outcome.struck, durable, outcome.took_s)


def _document(outcome: Outcome, rows: list[Row]) -> object:
    plan = outcome.plan
    return {
        "verdict": verdict(outcome),
        "holds": outcome.holds,
        "seed": plan.seed,
        "seconds": plan.seconds,
        "gateways": plan.gateways,
        "engines": plan.engines,
        "fenced": plan.fenced,
        "apart": plan.apart,
        "unknown": outcome.witness.unknown,
        "facts": outcome.facts,
        "checks": [
            {"name": check.name, "ok": check.ok, "numbers": check.numbers, "wrong": check.wrong}
            for check in outcome.checks
        ],
        "faults": [
            {
                "number": fault.plan.number,
                "kind": fault.plan.kind.name,
                "target": fault.target,
                "began_s": round(fault.began_s, 3),
                "healed_s": round(fault.healed_s, 3),
                "overlaps": fault.plan.overlaps,
                "missed": fault.missed,
                "recovery": found,
            }
            for fault, found in rows
        ],
        "per_second": [
            {
                "offered": second.offered,
                "late_s": round(second.late_s, 3),
                **{kind.name: second.came[kind] for kind in Came},
                "unanswered": second.unanswered,
            }
            for second in outcome.witness.seconds
        ],
        "surprises": dict(outcome.witness.surprises),
    }


def _markdown(outcome: Outcome, rows: list[Row]) -> Iterator[str]:
    plan = outcome.plan
    yield f"# Nemesis: {verdict(outcome)}"
    yield ""
    yield f"Seed {plan.seed}, {plan.gateways} gateways, {plan.engines} engines."
    yield f"{_summary(outcome)}."
    yield network(outcome)
    yield ""
    yield "| s | fault | target | lasted s | served again after s | since healed s | gap s |"
    yield "|---:|---|---|---:|---:|---:|---:|"
    for fault, found in rows:
        lasted_s = fault.healed_s - fault.began_s
        figures = ("missed", "", "")
        if found is not None:
            figures = (_s(found.after_start_s), _s(found.after_healing_s), _s(found.gap_s))
        on_top = " (on top)" if fault.plan.overlaps else ""
        cells = (f"{fault.began_s:.1f}", fault.plan.kind + on_top, fault.target, _s(lasted_s))
        yield f"| {' | '.join((*cells, *figures))} |"
    yield ""
    for check in outcome.checks:
        yield f"- {'OK' if check.ok else '**BROKEN**'} {check.name}: {check.numbers}"
        yield from (f"  - {sentence}" for sentence in check.wrong)


def _s(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f}"
