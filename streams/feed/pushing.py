"""
A sender that pushes what its platform pushes: signed, over HTTP, to the gateway.

Promise: a push is sent again until it has its 2xx, as a platform does, and the log has every 2xx
beside how often it was sent in vain; what is no answer to an honest push is an error, never a
silence. Messages of other platforms go straight to the broker.
"""

import asyncio
import hmac
import random
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from schemas.errors import OrderflowError
from streams import topics
from streams.clock import now_ms
from streams.ending import end
from streams.feed.sending import Raw, Sender, digest
from streams.settings import Settings

#: Whose generated orders are what its webhook sends.
PLATFORM = "shopify"
_SIGNATURE = "X-Shopify-Hmac-Sha256"
#: Requests that may be on their way at once; pushes that may wait for their 2xx.
_AT_ONCE, _WAITING_MAX = 64, 20_000
#: One request, s; a platform waits no longer either.
_ANSWERS_WITHIN = aiohttp.ClientTimeout(total=10)
#: A gateway that is not there is tried again after this, s.
_AGAIN_AFTER_S = 1.0
#: Each wait is longer by up to this share, by chance.
_JITTER = 0.2


class AnswerError(OrderflowError):
    """The gateway's answer to an honest push was none that it may give."""


class Pushes:
    """What the gateway answered, while it answers."""

    def __init__(self, address: str, secret: str) -> None:
        self.address = address
        self._secret = secret.encode()
        #: 200, 503, and `nobody` for a request that was not answered.
        self.answers: Counter[str] = Counter()

    def signed(self, payload: bytes) -> Mapping[str, str]:
        """Return the headers by which the platform proves that *payload* is its own."""
        return {_SIGNATURE: b64encode(hmac.digest(self._secret, payload, "sha256")).decode()}


class Pusher(Sender):
    """A sender whose messages of one platform take the way by the gateway."""

    def __init__(
        self, pushes: Pushes, settings: Settings, platforms: Sequence[str], log: Path | None
    ) -> None:
        super().__init__(settings, platforms, log)
        self._pushes = pushes
        self._topic = settings.topic(topics.raw(PLATFORM))
        self._under_push: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._client = aiohttp.ClientSession(self._pushes.address, timeout=_ANSWERS_WITHIN)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            await end(*self._under_push)
            await self._client.close()

    async def send(self, message: Raw) -> None:
        """Let *message* take its way."""
        if message.platform != PLATFORM:
            await super().send(message)
            return
        while len(self._under_push) >= _WAITING_MAX:
            await self._some_push()
        self.sent += 1
        self._under_push.add(asyncio.create_task(self._until_taken(message)))

    async def dispatch(self) -> None:
        """Let every open batch leave, and hear which pushes were taken."""
        await super().dispatch()
        self._hear_pushes({push for push in self._under_push if push.done()})

    async def flush(self) -> None:
        """Wait until the broker has everything and every push has its 2xx."""
        await super().flush()
        while self._under_push:
            await self._some_push()

    async def _some_push(self) -> None:
        done, _ = await asyncio.wait(self._under_push, return_when=asyncio.FIRST_COMPLETED)
        self._hear_pushes(done)

    def _hear_pushes(self, done: set[asyncio.Task[None]]) -> None:
        self._under_push -= done
        for push in done:
            push.result()

    async def _until_taken(self, message: Raw) -> None:
        """Push *message* until it has its 2xx; the log has it then."""
        vain, said = 0, {**message.about, "digest": digest(message.value), "sent_ms": now_ms()}
        while (pause_s := await self._pushed(message)) is not None:
            vain += 1
            await asyncio.sleep(pause_s * (1 + _JITTER * random.random()))  # noqa: S311  not secret
        self.acknowledged += 1
        self._write({**said, "topic": self._topic, "answer": 200, "vain": vain})

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._log:
            self._log.write(orjson.dumps(line) + b"\n")

    async def _pushed(self, message: Raw) -> float | None:
        """Push once; return None for a 2xx, else for how long to wait, s."""
        headers = self._pushes.signed(message.value)
        address = f"/v1/webhooks/{message.platform}/{message.shop}"
        try:
            async with (
                self._room,
                self._client.post(address, data=message.value, headers=headers) as answer,
            ):
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            self._pushes.answers["nobody"] += 1
            return _AGAIN_AFTER_S
        self._pushes.answers[str(answer.status)] += 1
        if answer.status == 200:
            return None
        after = answer.headers.get("Retry-After", "")
        if answer.status != 503 or not after.isdigit():
            raise AnswerError(f"status {answer.status}, Retry-After {after!r}, to {address}")
        return float(after)
