"""
Reading one request within limits: what is read, how long it may take, and what is refused.

Promise: no request makes this process hold more than the limit, and all together no more than
`HELD_BYTES_MAX`; nothing is decompressed, so nothing can swell.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

#: A body has at most this many bytes.
BODY_BYTES_MAX: Final = 2 * 1024 * 1024
#: Bodies of all requests that are not answered yet.
HELD_BYTES_MAX: Final = 256 * 1024 * 1024
#: Of a body that is too large so much is still read and thrown away, in the time any body has: a
#: client that is cut off while it sends does not hear the answer.
_THROWN_AWAY_MAX: Final = 64 * 1024 * 1024
#: Who was told 503 may come back after this.
RETRY_AFTER_S: Final = 5

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: What it is counted as, status, headers, body.
Answer = tuple[str, int, list[tuple[bytes, bytes]], bytes]


class Refused(Exception):  # noqa: N818  an answer, caught where it is given
    """A request that is answered with no: a status, a sentence, and the word it is counted as."""

    def __init__(
        self, status: int, outcome: str, sentence: str, *headers: tuple[bytes, bytes]
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.outcome = outcome
        self.sentence = sentence
        self.headers = headers


class Gone(Exception):  # noqa: N818  nobody is left to be answered
    """The client went away before its request was whole."""


class Headers:
    """The headers of one request; a name that stands twice has no value."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[bytes, bytes | None] = {}
        for name, value in pairs:
            self._values[name] = None if name in self._values else value

    def get(self, name: bytes, absent: bytes | None = None) -> bytes | None:
        """Return the one value of *name* (lower case); None where there are several."""
        return self._values.get(name, absent)

    def __contains__(self, name: bytes) -> bool:
        return name in self._values


class Reader:
    """Reads bodies; knows how much is held by all requests that are not answered yet."""

    def __init__(self, slow_after_s: float) -> None:
        self._slow_after_s = slow_after_s
        self.held_bytes = 0

    async def body(self, headers: Headers, receive: Receive) -> bytes:
        """Return the whole body as it came, held until `done`; raises Refused, or Gone."""
        try:
            async with asyncio.timeout(self._slow_after_s):
                if (no := _refused_by(headers)) is not None:
                    await _throw_away(headers, receive)
                    raise no
                return await self._whole(receive)
        except TimeoutError:
            raise Refused(408, "slow", "the request did not arrive in time") from None

    def done(self, body: bytes) -> None:
        """Let go of *body*."""
        self.held_bytes -= len(body)

    async def _whole(self, receive: Receive) -> bytes:
        part, more = await _next(receive)
        held = bytearray()
        try:
            self._hold(held, part)
            while more:
                part, more = await _next(receive)
                self._hold(held, part)
        except BaseException as error:
            self.held_bytes -= len(held)
            if more and isinstance(error, Refused):
                held.clear()
                await _throw_away(None, receive)
            raise
        return bytes(held)

    def _hold(self, held: bytearray, part: bytes) -> None:
        held += part
        self.held_bytes += len(part)
        if len(held) > BODY_BYTES_MAX:
            raise _too_large()
        if self.held_bytes > HELD_BYTES_MAX:
            raise Refused(503, "busy", "too much at once; send it again later")


def _refused_by(headers: Headers) -> Refused | None:
    """Return what the headers alone are refused for."""
    if headers.get(b"content-encoding", b"identity") != b"identity":
        return Refused(415, "encoded", "send the body without a content encoding")
    if b"transfer-encoding" in headers and b"content-length" in headers:
        return Refused(400, "bad_request", "send a content length or chunks, not both")
    return _too_large() if _length(headers) > BODY_BYTES_MAX else None


def _length(headers: Headers) -> int:
    said = headers.get(b"content-length") or b""
    # The server has refused what is no number; one of 20 digits is as good as any longer one.
    return int(said[:20]) if said.isdigit() else 0


async def _throw_away(headers: Headers | None, receive: Receive) -> None:
    """
    Read what is still sent, within bounds, so that the client hears why it was refused.

    Whoever asks before sending, or is going to send more than that, is answered at once; so is one
    that says in two ways where its body ends.
    """
    if headers and (b"expect" in headers or b"transfer-encoding" in headers):
        return
    if headers and _length(headers) > _THROWN_AWAY_MAX:
        return
    thrown_away, more = 0, True
    while more and thrown_away <= _THROWN_AWAY_MAX:
        part, more = await _next(receive)
        thrown_away += len(part)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message.get("body", b""), message.get("more_body", False)


def _too_large() -> Refused:
    return Refused(413, "too_large", f"a body has at most {BODY_BYTES_MAX} bytes")


#: After these the connection is closed: the rest of the body was not read.
_CLOSED_AFTER = (400, 408, 413, 415)


def refusal(no: Refused) -> Answer:
    """Return the answer that says *no*."""
    body = f"{no.sentence}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *no.headers]
    if no.status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    if no.status in _CLOSED_AFTER:
        headers.append((b"connection", b"close"))
    return no.outcome, no.status, headers, body


async def respond(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send one whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
