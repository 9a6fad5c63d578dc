"""What is read without a parser: never anything that aiohttp's parser understands otherwise."""

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.plain import HEAD_BYTES_MAX, PART_BYTES_MAX, Head, read

EVENT_ID = "evt_00000000000000aa"
PATH = f"/v1/events/{EVENT_ID}/orders"
FIRST = f"POST {PATH} HTTP/1.1"
BODY = b'{"a": 1}'
USUAL = ["Host: shop", "Authorization: Bearer abc.def", "Idempotency-Key: k-1"]

HEADERS = {
    "host": "shop",
    "authorization": "Bearer abc.def",
    "idempotency-key": "k-1",
    "content-length": "8",
}
HEAD = Head(PATH, EVENT_ID, "orders", HEADERS, "8")


def sent(*headers: str, first: str = FIRST, body: bytes = BODY, length: str = "") -> bytes:
    lines = [first, *USUAL, *headers, f"Content-Length: {length or len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def test_a_plain_request_is_read() -> None:
    assert read(sent()) == (HEAD, BODY)
    assert read(sent("connection: Keep-Alive", "X-Any: ~ !")) is not None


def test_each_request_has_its_own_key_though_the_rest_of_its_head_is_remembered() -> None:
    for key in ("k-1", "k-2", "k-1"):
        found = read(sent().replace(b"k-1", key.encode()))
        assert found == (
            Head(PATH, EVENT_ID, "orders", HEADERS | {"idempotency-key": key}, "8"),
            BODY,
        )


def test_the_rest_of_a_body_is_waited_for() -> None:
    for part in (sent()[:-1], sent(body=b"", length="8")):
        assert read(part) == (HEAD, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        sent()[:30],
        sent() + b"G",
        sent() + sent(),
        sent(first=FIRST.replace("POST", "GET")),
        sent(first=FIRST.replace("1.1", "1.0")),
        sent("Transfer-Encoding: chunked"),
        sent("transfer-encoding:chunked"),
        sent("Transfer-Encoding : chunked"),
        sent(" Transfer-Encoding: chunked"),
        sent("X: y\rTransfer-Encoding: chunked"),
        sent("X: y\nTransfer-Encoding: chunked"),
        sent("X: y", " folded: on"),
        sent("Content-Encoding: gzip"),
        sent("Expect: 100-continue"),
        sent("Connection: close"),
        sent("Connection: keep-alive, upgrade"),
        sent("Upgrade: websocket"),
        sent("Idempotency-Key: k-2"),
        sent("content-length: 8"),
        sent("no colon"),
        sent("nocolon"),
        sent(": no name"),
        sent("X: \t"),
        sent("X: "),
        sent("X:  y"),
        sent("X: y "),
        sent("X: \xe9"),
        sent("X: \x00"),
        sent(length="08"),
        sent(length="+8"),
        sent(length="8 "),
        sent(length="7"),
        sent(length="٨".encode().decode("latin-1")),
        sent(body=b"", length=str(PART_BYTES_MAX)),
        sent("X: " + "y" * HEAD_BYTES_MAX),
    ],
)
def test_what_is_not_plain_is_not_read(data: bytes) -> None:
    assert read(data) is None


ODD = [
    "Transfer-Encoding: chunked",
    "Content-Length: 3",
    "Connection: close",
    "Expect: 100-continue",
    "idempotency-key: 2",
    "Host: b",
    "X-Y: z",
    "A:b",
    "A b: c",
    "a",
    " x: y",
    "X: ",
]


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    """Plain ones, with lines that are not, and bytes put in, out, and in the place of others."""
    odd = st.sampled_from(ODD)
    data = sent(*draw(st.lists(odd, max_size=2)), body=draw(st.binary(max_size=9)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        put = draw(
            st.sampled_from([b"", b" ", b":", b"\r\n", b"\n", b"\r", b"\0", b"0", b"a", b"\t"])
        )
        data = data[:at] + put + data[at + draw(st.integers(0, 2)) :]
    return data


@given(_requests())
@settings(max_examples=500)
def test_the_parser_reads_the_same(data: bytes) -> None:
    found = read(data)
    if found is None or found[1] is None:
        return
    head, body = found
    assert _parsed(data) == (head.path, head.headers, body)


def _parsed(data: bytes) -> tuple[str, dict[str, str], bytes]:
    """By aiohttp, which must find the one request in it and nothing more."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
        try:
            messages, _, tail = parser.feed_data(data)
        except HttpProcessingError as error:
            raise AssertionError(data) from error
    ((message, payload),) = messages
    assert (tail, message.method, message.should_close) == (b"", "POST", False)
    assert payload.is_eof()
    body = payload.read_nowait() if payload.total_bytes else b""
    headers = {name.lower(): value for name, value in message.headers.items()}
    assert len(headers) == len(message.headers)
    return message.path, headers, body
