"""Who asks: signed bearer credentials (JWT, HS256) and the roles they carry.

A credential that was verified once is remembered until it expires, so that the hot path costs a
look-up and not a signature.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from msgspec import Struct

from engine.commands import Caller, Role
from gateway.problems import Problem

ALGORITHM = "HS256"
REMEMBERED_MAX = 100_000
_SUBJECT = re.compile(r"[\x21-\x7e]{1,128}")


class Principal(Struct, frozen=True, dict=True):
    """`event_id`: the one event that a scanner's credential is good for, `gate` its only gate.

    `enrolled`: a device that may have been revoked since.
    """

    role: Role
    subject: str
    expires_at_s: int
    event_id: str | None = None
    supervisor: bool = False
    enrolled: bool = False
    gate: str | None = None

    @cached_property
    def digest(self) -> str:
        """What tells this caller from all others, whatever credential it shows."""
        return f"{self.role.value}\0{self.subject}"

    @cached_property
    def caller(self) -> Caller:
        return Caller(self.role, self.subject)


class Credentials:
    """Signs and verifies bearer credentials with one secret."""

    def __init__(self, secret: str, clock_s: Callable[[], float] = time.time) -> None:
        self._key = OctKey.import_key(secret)
        self._clock_s = clock_s
        self._verified: OrderedDict[str, Principal] = OrderedDict()

    def issue(self, principal: Principal) -> str:
        claims: dict[str, object] = {
            "sub": principal.subject,
            "role": principal.role.value,
            "exp": principal.expires_at_s,
        }
        if principal.event_id is not None:
            claims["event_id"] = principal.event_id
        if principal.supervisor:
            claims["supervisor"] = True
        if principal.enrolled:
            claims |= {"enrolled": True, "gate": principal.gate}
        return jwt.encode({"alg": ALGORITHM}, claims, self._key, algorithms=[ALGORITHM])

    def principal(self, headers: Mapping[str, str]) -> Principal | None:
        """Who asks, or None without a credential. Raises Problem 401 on one that is not good.

        `headers` are found by their names in lower case.
        """
        header = headers.get("authorization")
        if header is None:
            return None
        found = self._verified.get(header)
        if found is None:
            found = self._verify(header)
            self._remember(header, found)
        if found.expires_at_s <= self._clock_s():
            raise unauthenticated("the credential has expired")
        return found

    def _verify(self, header: str) -> Principal:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated("Authorization: Bearer <credential>")
        try:
            claims = jwt.decode(token.strip(), self._key, algorithms=[ALGORITHM]).claims
            return Principal(
                Role(claims["role"]),
                _subject(claims["sub"]),
                int(claims["exp"]),
                claims.get("event_id"),
                claims.get("supervisor") is True,
                claims.get("enrolled") is True,
                claims.get("gate"),
            )
        except (JoseError, ValueError, KeyError, TypeError):
            raise unauthenticated("the credential is not one of ours") from None

    def _remember(self, header: str, principal: Principal) -> None:
        self._verified[header] = principal
        if len(self._verified) > REMEMBERED_MAX:
            self._verified.popitem(last=False)


def _subject(text: object) -> str:
    if not isinstance(text, str) or _SUBJECT.fullmatch(text) is None:
        raise ValueError("subject")
    return text


def unauthenticated(detail: str) -> Problem:
    return Problem(401, "unauthenticated", detail)


def forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail)
