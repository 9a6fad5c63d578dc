"""What may be asked at the doors, in any order, with a network and without."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from engine import commands as c
from engine.telling import ScanResult
from tests.engine.sale_witness import SaleWitness, pick
from tests.engine.stage import MINUTE_MS

which = st.integers(0, 30)  # of what there is, counted round
gates = st.sampled_from(["north", "vip", "unlisted", None])


def once_there_is(what: str) -> Callable[[Any], Any]:
    return precondition(lambda self: len(getattr(self, what)) > 0)


class DoorsMachine(SaleWitness):
    @once_there_is("tokens")
    @rule(
        i=which,
        gate=gates,
        device=st.integers(1, 2),
        override=st.sampled_from([False] * 3 + [True]),
        leaving=st.booleans(),
    )
    def scan(self, i: int, gate: str | None, device: int, override: bool, leaving: bool) -> None:
        device_id = f"device-{device}"
        scan = self.stage.check_in(
            pick(self.tokens, i),
            device_id=device_id,
            gate=gate,
            override=override,
            leaving=leaving,
        )
        self.scans.append((scan.device_id, scan.nonce))
        self.ask(scan)

    @rule(elsewhere=st.sampled_from([None, True, False]), override=st.booleans())
    def scan_a_fake(self, elsewhere: bool | None, override: bool) -> None:
        fake = self.stage.random(16)
        scan = self.stage.check_in(fake, elsewhere=elsewhere, override=override)
        self.scans.append((scan.device_id, scan.nonce))
        self.ask(scan)

    @once_there_is("scans")
    @once_there_is("tokens")
    @rule(i=which, j=which)
    def scan_with_a_used_nonce(self, i: int, j: int) -> None:
        device_id, nonce = pick(self.scans, i)
        self.ask(self.stage.check_in(pick(self.tokens, j), nonce, device_id=device_id))

    @once_there_is("tokens")
    @rule(
        scans=st.lists(
            st.tuples(
                which,
                which,
                st.sampled_from([ScanResult.ADMIT] * 4 + [ScanResult.EXIT] * 2 + [*ScanResult]),
                gates,
            ),
            max_size=5,
        ),
        device=st.integers(1, 4),
        fake=st.booleans(),
    )
    def sync(
        self, scans: list[tuple[int, int, ScanResult, str | None]], device: int, fake: bool
    ) -> None:
        """Up to half an hour ago; now and then under a nonce that was used before."""
        told = [
            self.stage.told(
                self.stage.random(16) if fake and not i else pick(self.tokens, i),
                self.stage.now_ms - j * MINUTE_MS,
                pick(self.scans, i)[1].partition(" ")[0] if self.scans and not j else None,
                gate=gate,
                told=result,
            )
            for i, j, result, gate in scans
        ]
        self.sync_scans(c.SyncScans(f"device-{device}", tuple(told)))

    @once_there_is("scans")
    @rule(i=which)
    def undo(self, i: int) -> None:
        device_id, nonce = pick(self.scans, i)
        self.ask(self.stage.undo_check_in(nonce, device_id))
