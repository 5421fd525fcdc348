"""Reading a request within limits: what is held, let go of, and refused."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streams.gateway.requests import (
    BODY_BYTES_MAX,
    HELD_BYTES_MAX,
    Gone,
    Headers,
    Reader,
    Refused,
    refusal,
)


def client(*parts: bytes | None) -> Callable[[], Awaitable[dict[str, Any]]]:
    """A client that sends these parts; None: it goes away."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        part = left.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    return receive


def headers(**said: str) -> Headers:
    return Headers(
        [(name.replace("_", "-").encode(), value.encode()) for name, value in said.items()]
    )


async def test_a_body_is_held_until_its_request_is_answered():
    reader = Reader(1.0)

    first = await reader.body(headers(), client(b"ab", b"", b"cde"))
    second = await reader.body(headers(), client(b"f"))

    assert (first, second, reader.held_bytes) == (b"abcde", b"f", 6)
    reader.done(first)
    reader.done(second)
    assert reader.held_bytes == 0


async def test_what_is_refused_or_left_in_the_middle_is_not_held():
    reader = Reader(1.0)
    large = client(*[b"x" * (BODY_BYTES_MAX // 2)] * 4)

    with pytest.raises(Refused) as refused:
        await reader.body(headers(), large)
    with pytest.raises(Gone):
        await reader.body(headers(), client(b"abc", None))

    assert (refused.value.status, reader.held_bytes) == (413, 0)


async def test_all_requests_together_are_held_within_a_limit():
    reader = Reader(1.0)
    most = b"x" * BODY_BYTES_MAX
    held = [
        await reader.body(headers(), client(most)) for _ in range(HELD_BYTES_MAX // BODY_BYTES_MAX)
    ]

    with pytest.raises(Refused) as refused:
        await reader.body(headers(), client(most))

    assert (refused.value.status, reader.held_bytes) == (503, HELD_BYTES_MAX)
    reader.done(held.pop())
    assert await reader.body(headers(), client(b"again")) == b"again"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"content_length": str(BODY_BYTES_MAX)}, None),
        ({"content_length": str(BODY_BYTES_MAX + 1)}, 413),
        ({"content_length": "9" * 5_000}, 413),
        ({"content_length": "²"}, None),
        ({"content_encoding": "identity"}, None),
        ({"content_encoding": ""}, 415),
        ({"content_encoding": "x-gzip"}, 415),
        ({"transfer_encoding": "chunked"}, None),
        ({"transfer_encoding": "chunked", "content_length": "1"}, 400),
    ],
)
async def test_headers_alone_may_be_reason_enough(said: dict[str, str], status: int | None):
    try:
        await Reader(1.0).body(headers(**said), client(b"{}"))
        found = None
    except Refused as no:
        found = no.status

    assert found == status


def test_a_header_that_stands_twice_has_no_value():
    twice = Headers([(b"a", b"1"), (b"a", b"1"), (b"b", b"2")])

    assert (twice.get(b"a"), twice.get(b"b"), twice.get(b"c", b"3")) == (None, b"2", b"3")
    assert b"a" in twice


def test_who_was_told_to_come_back_hears_when():
    _, _, said, _ = refusal(Refused(503, "unavailable", "later"))

    assert (b"retry-after", b"5") in said
