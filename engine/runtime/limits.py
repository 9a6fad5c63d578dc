"""The runtime's bounds. Everything has one."""

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """The defaults suit one process of a small machine."""

    mailbox_max: int = 20_000  # of a shard's lane
    sale_quota_max: int = 16_000
    step_letters_max: int = 128  # what deciding may cost the loop at a stretch: milliseconds
    turn_steps_max: int = 4  # of a shard, in one append
    turn_sweeps_max: int = 2
    sweep_orders_max: int = 500
    letter_ttl_s: float = 5.0
    deaths_max: int = 3
    loads_max: int = 8
    piece_max: int = 1_000  # entities of a snapshot at a time: what encoding may cost the loop
    facts_between_kept: int = 200_000  # bounds the replay should the fast store be lost
    finished_order_kept_ms: int = 60 * 60 * 1000
    reload_ms: int = 10_000  # before a sale that could not be loaded is tried again by itself
    idle_ms: int = 10 * 60 * 1000
    tick_s: float = 0.1
    acquire_retry_s: float = 0.2
    append_slow_s: float = 1.5  # afterwards nothing more is taken in until the journal answers
