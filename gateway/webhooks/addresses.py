"""Where webhooks may go: to https on the public net, and nowhere inside the house.

A name is resolved once, here, and the connection goes to the address that was looked at: what the
name says a moment later does not matter. Redirects are not followed.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_PORTS = (443, 8443)
_NAT64 = 0x0064FF9B << 96
URL_LENGTH_MAX = 500


class Forbidden(OSError):
    """The name leads to an address that webhooks don't go to."""


def refuse_url(url: str, *, localhost: bool) -> str | None:
    """Why an endpoint can't be there, in words, or None. `localhost`: plain http to 127.0.0.1."""
    if len(url) > URL_LENGTH_MAX or not (url.isascii() and url.isprintable()) or " " in url:
        return f"at most {URL_LENGTH_MAX} visible ASCII characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "not a URL"
    host = parts.hostname
    if not host or parts.username or parts.password or parts.fragment:
        return "a URL with a host, without credentials and fragment"
    if localhost and parts.scheme == "http" and host == "127.0.0.1":
        return None
    if parts.scheme != "https" or port not in (None, *_PORTS):
        return f"https on port {' or '.join(map(str, _PORTS))}"
    literal = _literal(host)
    if literal is not None and not is_public(literal):
        return "a public address"
    return None


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is an address of one machine on the public net, however it is written."""
    if isinstance(address, IPv6Address):
        within = _within(address)
        if within is not None:
            return is_public(within)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    high, low = int(address) >> 32, int(address) & 0xFFFF_FFFF
    if high in (0, _NAT64 >> 32) and low > 1:  # IPv4-compatible, NAT64
        return IPv4Address(low)
    return None


class PublicResolver(AbstractResolver):
    """Answers public addresses only. Raises Forbidden where there is another among them."""

    def __init__(self, *, localhost: bool, resolver: AbstractResolver | None = None) -> None:
        self._localhost = localhost
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for one in found:
            self.refuse(one["host"])
        return found

    def refuse(self, text: str) -> None:
        """Raises Forbidden on an address that webhooks don't go to."""
        address = ip_address(text)
        here = self._localhost and text == "127.0.0.1"
        if not (here or is_public(address)):
            raise Forbidden("not a public address")

    async def close(self) -> None:
        await self._resolver.close()
