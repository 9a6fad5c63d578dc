"""Who is in and who is out, of one ticket whose holder may come back, from its visits alone."""

from dataclasses import dataclass, field

from engine import facts as f


@dataclass
class Visit:
    name: str
    at_ms: int
    leaving: bool
    online: bool


@dataclass
class Visits:
    """`told`: in the order in which they were heard of."""

    told: list[Visit] = field(default_factory=list)

    def stays(self) -> list[tuple[list[Visit], Visit | None]]:
        """Entries and the exit that ends them."""
        found: list[tuple[list[Visit], Visit | None]] = [([], None)]
        for visit in sorted(self.told, key=lambda visit: visit.at_ms):
            if visit.leaving:
                found[-1] = (found[-1][0], visit)
                found.append(([], None))
            else:
                found[-1][0].append(visit)
        return found

    def counted(self) -> set[str]:
        names: set[str] = set()
        for entries, exit_ in self.stays():
            if entries:
                names.add(stands(entries).name)
                names |= {exit_.name} if exit_ else set()
        return names

    def now_in(self) -> Visit | None:
        entries, _ = self.stays()[-1]
        return stands(entries) if entries else None

    def hear(self, visit: Visit, fact: f.TicketScanned, entry: f.Entry) -> None:
        """One more, and whether what the fact says of all of them is right."""
        before = self.counted()
        self.told.append(visit)
        if fact.offline is None:
            assert self.counted() >= before, entry
            return
        settled, after, now_in = fact.offline.settled, self.counted(), self.now_in()
        assert settled is not None, entry
        assert set(settled.stands) == after - before, entry
        assert set(settled.falls) == before - after, entry
        assert settled.admitted_by == (now_in.name if now_in else None), entry
        assert settled.admitted_at_ms == (now_in.at_ms if now_in else None), entry
        assert settled.used == any(not told.leaving for told in self.told), entry

    def take_back(self) -> None:
        entries, _ = self.stays()[-1]
        self.told = [visit for visit in self.told if visit not in entries]


def stands(entries: list[Visit]) -> Visit:
    return ([visit for visit in entries if visit.online] or entries)[0]
