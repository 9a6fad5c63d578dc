"""Which node should own which shard: rendezvous hashing.

Every node works it out alone from the same roster, and a node that comes or goes moves no shard
but its own (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998).
"""

from collections.abc import Collection
from hashlib import blake2b

_WEIGHT_BYTES = 8


def wanted_owner(shard_id: int, nodes: Collection[str]) -> str | None:
    """The node with the highest weight for this shard; None where there is no node."""
    return max(nodes, key=lambda node: (_weight(shard_id, node), node), default=None)


def _weight(shard_id: int, node: str) -> bytes:
    return blake2b(f"{shard_id}/{node}".encode(), digest_size=_WEIGHT_BYTES).digest()
