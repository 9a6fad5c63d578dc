"""Personal data in facts: sealed with a key of its own, kept beside the journal.

AES-256-GCM; each key seals one text only, so the nonce is fixed. To erase a person is to erase the
keys: the journal is never rewritten.
"""

import os
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from engine.ids import personal_key_id

KEY_BYTES = 32
_ID_BYTES = 8
_NONCE = bytes(12)

_encode = msgspec.msgpack.Encoder().encode
_T = TypeVar("_T")


class Attendee(Struct, frozen=True, array_like=True):
    name: str | None
    email: str | None


class Buyer(Struct, frozen=True, array_like=True):
    """`attendees`: none, or one a ticket, in the order of the tickets."""

    email: str | None
    attendees: tuple[Attendee, ...] = ()


def seal(value: Buyer | Attendee, order_id: str) -> tuple[bytes, bytes]:
    """The sealed text, which begins with its key's id, and the key."""
    key = os.urandom(KEY_BYTES)
    text = AESGCM(key).encrypt(_NONCE, _encode(value), order_id.encode())
    return personal_key_id(key) + text, key


def unseal(
    sealed: bytes | None, keys: Mapping[bytes, bytes], order_id: str, wanted: type[_T]
) -> _T | None:
    """What was sealed, or None where there is nothing, or its key has been erased."""
    key = keys.get(sealed[:_ID_BYTES]) if sealed is not None else None
    if sealed is None or key is None:
        return None
    try:
        text = AESGCM(key).decrypt(_NONCE, sealed[_ID_BYTES:], order_id.encode())
    except InvalidTag:
        return None
    return msgspec.msgpack.decode(text, type=wanted)
