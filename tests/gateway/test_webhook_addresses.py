"""Webhooks go to the public net and nowhere else, however an address is written."""

import socket
from ipaddress import ip_address

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from gateway.webhooks.addresses import Forbidden, PublicResolver, is_public, refuse_url

HIDDEN = (
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1"),
    *("198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "2001:db8::1"),
    "fe80::1%eth0",
)
PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808")


@pytest.mark.parametrize("address", HIDDEN)
def test_an_address_of_ours_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
    shown = f"[{address}]" if ":" in address else address
    assert refuse_url(f"https://{shown}/hook", localhost=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_world_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/hook", "ftp://example.org", "https://", "https:///x", "//x", ""),
        *("https://user:secret@example.org/", "https://example.org:22/", "https://example.org:x/"),
        *("https://example.org/#part", "https://exam ple.org/", "https://example.org/\r\nX: y"),
        *("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/", "gopher://127.0.0.1/"),
        "https://example.org/" + "a" * 500,
    ],
)
def test_an_endpoint_is_an_https_url(url: str) -> None:
    assert refuse_url(url, localhost=False)
    assert refuse_url(url, localhost=True)


def test_localhost_is_a_setting_and_nothing_but_127_0_0_1() -> None:
    assert refuse_url("http://127.0.0.1:9000/hook", localhost=True) is None
    assert refuse_url("http://127.0.0.1:9000/hook", localhost=False)
    for host in ("localhost", "127.0.0.2", "[::1]", "169.254.169.254", "127.1"):
        assert refuse_url(f"http://{host}:9000/hook", localhost=True)
    assert refuse_url("https://example.org/hook?a=b", localhost=False) is None


class Names(AbstractResolver):
    """A name server that says what it is told."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=a, port=port, family=family, proto=0, flags=0)
            for a in self._addresses
        ]

    async def close(self) -> None:
        pass


async def test_a_name_that_leads_into_the_house_is_not_followed() -> None:
    for addresses in (("127.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("::ffff:169.254.169.254",)):
        with pytest.raises(Forbidden):
            await PublicResolver(localhost=False, resolver=Names(*addresses)).resolve("evil.org")
    found = await PublicResolver(localhost=False, resolver=Names("8.8.8.8")).resolve("good.org")
    assert [one["host"] for one in found] == ["8.8.8.8"]


@pytest.mark.parametrize("name", ["127.1", "2130706433", "0x7f.0.0.1", "017700000001"])
async def test_other_ways_to_write_an_address_are_resolved_and_refused(name: str) -> None:
    with pytest.raises(Forbidden):
        await PublicResolver(localhost=False, resolver=ThreadedResolver()).resolve(name, 443)
