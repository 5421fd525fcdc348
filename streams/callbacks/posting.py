"""
One delivery to a subscriber as one signed request: the kind `subscriber` of the queue.

Promises. It goes to public addresses alone (`reach`), follows no redirect and no proxy, carries no
cookie, reads of an answer no more than it shows. The URL and the secrets are read anew for every
attempt and are in no error and no log line.
"""

from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson
from yarl import URL

from agents.deliveries import Answer, Outcome, outcome_of
from schemas.errors import Rejected
from schemas.parked import Stage
from streams.callbacks.reach import ForbiddenAddress, connector, readable
from streams.clients.pacing import retry_after
from streams.clock import now_ms
from streams.delivering.sender import AT_ONCE_MAX, Kind
from streams.delivering.store import Delivery, Store
from streams.masking import shown
from streams.postgres.queries import sql
from streams.web import signing

KIND: Final = "subscriber"
#: Of an answer so much is read, and so much of that is kept.
_ANSWER_BYTES_MAX, SAID_MAX = 4 * 1024, 300


class Poster:
    """Posts deliveries: `async with Poster(store) as poster`."""

    def __init__(self, store: Store, *, loopback: bool = False, resolver: Any = None) -> None:
        self._store, self._loopback, self._resolver = store, loopback, resolver

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=connector(loopback=self._loopback, inner=self._resolver, limit=AT_ONCE_MAX),
            # The sender says how long an attempt may take.
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": "orderflow", "Content-Type": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    @property
    def kind(self) -> Kind:
        """Return what the queue knows of subscribers."""
        return Kind(self.attempt, Stage.CALLBACK.value, "note_subscriber_gone")

    async def attempt(self, delivery: Delivery) -> Answer:
        """Post once. Raises Unavailable where PostgreSQL does not say where to."""
        async with self._store.connected() as connection:
            there = await connection.fetchrow(sql("subscriber_to_send"), delivery.destination)
        if there is None or not there["secrets"]:
            # Removed meanwhile; what is not signed is not sent.
            return Answer(Outcome.FORBIDDEN, why="it has no secret that counts any more")
        try:
            url = readable(there["url"], loopback=self._loopback).url
        except Rejected as error:
            return Answer(Outcome.FORBIDDEN, why=f"its address is refused: {error}")
        headers = signing.headers(
            there["secrets"], delivery.message, now_ms() // 1000, delivery.body
        )
        return await self._post(url, headers, delivery.body)

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        try:
            async with self._session.post(
                URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
            ) as response:
                said = await response.content.read(_ANSWER_BYTES_MAX)
                return _answer(response, said)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if _is_forbidden(error):
                return Answer(
                    Outcome.FORBIDDEN, why="its name has a private address: nothing is sent there"
                )
            # Its words may repeat the address.
            return Answer(Outcome.AWAY, why=f"no answer ({type(error).__name__})")


def _answer(response: aiohttp.ClientResponse, body: bytes) -> Answer:
    status = response.status
    why = f"HTTP {status}"
    if 300 <= status < 400:
        why = f"HTTP {status}, and redirects are not followed"
    return Answer(
        outcome_of(status), status, why, retry_after(response.headers.get("retry-after")),
        excerpt(body),
    )  # fmt: skip


def excerpt(body: bytes) -> str:
    """Return the beginning of an answer as it is kept: masked, on one line."""
    said = shown(body) if body else ""
    text = said if isinstance(said, str) else orjson.dumps(said).decode()
    return " ".join(text.replace("\0", "").split())[:SAID_MAX]


def _is_forbidden(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ForbiddenAddress):
            return True
        error = getattr(error, "os_error", None) or error.__cause__
    return False
