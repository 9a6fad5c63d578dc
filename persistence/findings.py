"""What a check has found, as sentences, and how that is told: in lines for people, and as data."""

from collections import Counter

import msgspec
from msgspec import Struct, field

FINDINGS_MAX = 1_000  # told of each check; what is more is only counted


class Check(Struct):
    """`counted`: what was looked at. `findings`: what is wrong, a sentence each."""

    name: str
    counted: Counter[str] = field(default_factory=Counter)
    findings: list[str] = []
    untold: int = 0

    def find(self, sentence: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(sentence)
        else:
            self.untold += 1

    def lines(self) -> list[str]:
        verdict = "BROKEN" if self.findings else "OK    "
        numbers = ", ".join(f"{count} {what}" for what, count in self.counted.items())
        rest = [f"         and {self.untold} more"] if self.untold else []
        found = [f"         {sentence}" for sentence in self.findings]
        return [f"{verdict} {self.name}: {numbers or 'nothing there'}", *found, *rest]


class Report(Struct):
    """`mended`: what was done about it, a sentence each."""

    checks: list[Check] = []
    mended: list[str] = []

    @property
    def clean(self) -> bool:
        return not any(check.findings for check in self.checks)

    def check(self, name: str) -> Check:
        """The check of that name, new at the end where there is none."""
        known = next((check for check in self.checks if check.name == name), None)
        if known is None:
            known = Check(name)
            self.checks.append(known)
        return known

    def lines(self) -> list[str]:
        told = [line for check in self.checks for line in check.lines()]
        return [*told, *(f"mended: {sentence}" for sentence in self.mended)]

    def as_json(self) -> str:
        return msgspec.json.encode({"clean": self.clean, **msgspec.structs.asdict(self)}).decode()
