"""
Makes the calls: the only I/O of the clients, the same for every platform.

An attempt waits for its turn (a token bucket a shop), is not made while the breaker of its host is
open, is read whole within limits, and is judged by the client. What may go better is tried again,
with growing waits and full jitter; what cannot is raised at once.

    call ──> bucket ──> breaker ──> HTTP ──> verdict ──> read ──> value
              ▲                        │         │         │
              └───── wait ◀── away, throttled, unreadable ─┘       denied, refused: raised

Promise: redirects are not followed and no proxy of the environment is used, because both would
carry credentials elsewhere; nothing that is secret is in an error or in a log.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from streams.clients.calls import (
    Access,
    Answer,
    Client,
    CredentialsRefused,
    Kind,
    PlatformUnavailable,
    Rate,
    Request,
    RequestRefused,
    Stocking,
    Unreadable,
    Verdict,
)
from streams.clients.pacing import (
    Breaker,
    BreakerRule,
    Bucket,
    RetryRule,
    State,
    retry_after,
    wait_of,
    waits,
)
from streams.clock import now_ms

#: One answer; a page of orders is far smaller.
ANSWER_BYTES_MAX = 32 * 1024 * 1024
_CONNECT_WITHIN_S = 10.0
_READ_CHUNK = 256 * 1024
#: An access token is exchanged so long before it ends.
_RENEW_BEFORE_S = 60.0
#: Connections to one host; the buckets hold back more than this ever could.
_CONNECTIONS_MAX = 8
_AGENT = "orderflow"

T = TypeVar("T")
#: What became of an attempt: platform, shop, and the word it is counted as.
Counted = Callable[[str, str, str], None]


class CallRule(NamedTuple):
    """How calls are made."""

    retry: RetryRule
    breaker: BreakerRule
    #: One attempt, from connecting to the last byte.
    within_s: float


class _Failed(Exception):  # noqa: N818  an attempt that may go better; never leaves this module
    def __init__(self, verdict: Verdict, retry_after_s: float | None = None) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict
        self.retry_after_s = retry_after_s


class Caller:
    """Calls of all shops of one process."""

    def __init__(
        self, rule: CallRule, counted: Counted = lambda *_: None, dice: Random | None = None
    ) -> None:
        self._rule = rule
        self._counted = counted
        self._dice = dice or Random()  # noqa: S311  jitter is no secret
        self._session: aiohttp.ClientSession | None = None
        self._buckets: dict[tuple[str, str, str], tuple[Rate, Bucket]] = {}
        self._breakers: dict[str, Breaker] = {}
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def breakers(self) -> dict[str, State]:
        """Return where the breaker of each host stands."""
        now_s = time.monotonic()
        return {host: breaker.state(now_s) for host, breaker in self._breakers.items()}

    def open_for(self, access: Access) -> float:
        """Return for how long the host of *access* is left alone."""
        breaker = self._breakers.get(_host(access.base_url))
        return breaker.opens_in(time.monotonic()) if breaker else 0.0

    async def call(
        self,
        client: Client,
        access: Access,
        ask: Callable[[Access, int], Request],
        read: Callable[[Answer], T],
        *,
        lane: str = "list",
    ) -> T:
        """
        Return what *read* makes of the answer to *ask*.

        Raises PlatformUnavailable, CredentialsRefused, RequestRefused.
        """
        longest, bucket = waits(self._rule.retry), self._bucket(client, access, lane)
        while True:
            if (rests_s := bucket.rests_for(time.monotonic())) > 0:
                shop = f"{access.platform}/{access.shop}"
                raise _rests(f"{shop}: it wants to be left alone for {rests_s:.0f} s", rests_s)
            try:
                return await self._with_token(client, access, ask, read, lane)
            except _Failed as failed:
                wait_s = next(longest, None)
                if wait_s is None:
                    gave_up = PlatformUnavailable(
                        self._sentence(access, "did not answer well", failed.verdict)
                        + f" ({self._rule.retry.attempts_max} attempts)"
                    )
                    gave_up.tried = True
                    raise gave_up from None
                rests_s = failed.retry_after_s or 0.0
                if rests_s > self._rule.retry.wait_max_s:
                    # Also for whoever asks next, in the next turn or a second from now.
                    bucket.rest(time.monotonic(), rests_s)
                    raise _rests(
                        self._sentence(access, "asks us to wait longer", failed.verdict), rests_s
                    ) from None
                await asyncio.sleep(wait_of(wait_s, self._dice.random(), failed.retry_after_s))

    async def once(
        self,
        client: Client,
        access: Access,
        ask: Callable[[Access, int], Request],
        read: Callable[[Answer], T],
        *,
        lane: str,
    ) -> T:
        """
        Make one attempt, for whoever has a schedule of his own; otherwise as `call`.

        Raises PlatformUnavailable, CredentialsRefused, RequestRefused.
        """
        try:
            return await self._with_token(client, access, ask, read, lane)
        except _Failed as failed:
            away = PlatformUnavailable(
                self._sentence(access, "did not answer well", failed.verdict)
            )
            away.tried, away.retry_after_s = True, failed.retry_after_s
            away.throttled = failed.verdict.kind is Kind.THROTTLED
            raise away from None

    async def _with_token(
        self,
        client: Client,
        access: Access,
        ask: Callable[[Access, int], Request],
        read: Callable[[Answer], T],
        lane: str,
    ) -> T:
        """Make one attempt; a token that was exchanged for and is refused is exchanged for anew."""
        if client.token is None or client.read_token is None:
            return await self._attempt(client, access, ask, read, lane)
        key = access.platform, access.shop
        kept = self._tokens.get(key)
        if kept is not None and kept[1] > time.monotonic():
            try:
                granted = replace(access, access_token=kept[0])
                return await self._attempt(client, granted, ask, read, lane)
            except CredentialsRefused:
                self._tokens.pop(key, None)
        token, read_token = client.token, client.read_token
        found = await self._attempt(
            client, access, lambda access, _: token(access), read_token, "token"
        )
        ends_s = time.monotonic() + found.good_for_s - _RENEW_BEFORE_S
        self._tokens[key] = found.value, ends_s
        return await self._attempt(
            client, replace(access, access_token=found.value), ask, read, lane
        )

    async def _attempt(
        self,
        client: Client,
        access: Access,
        ask: Callable[[Access, int], Request],
        read: Callable[[Answer], T],
        lane: str,
    ) -> T:
        """Make one attempt, when it is this shop's turn and the host is not left alone."""
        await asyncio.sleep(self._bucket(client, access, lane).take(time.monotonic()))
        # Signed now, not before the wait: the platform looks at the time of signing.
        request = ask(access, now_ms())
        breaker = self._breaker(request)
        if not breaker.may_try(time.monotonic()):
            self._counted(access.platform, access.shop, "breaker")
            opens_in_s = breaker.opens_in(time.monotonic())
            raise _rests(
                f"{access.platform}/{access.shop}: {_host(request.url)} has failed often and is "
                f"left alone for {opens_in_s:.0f} s",
                opens_in_s,
            )
        try:
            answer = await self._answer(request)
            verdict = client.verdict(answer)
            # A platform may repeat what it was sent.
            verdict = verdict._replace(reason=access.hide(verdict.reason))
            value = read(answer) if verdict.kind is Kind.FINE else None
        except Unreadable as error:
            self._no(breaker, access, "unreadable")
            raise _Failed(Verdict(Kind.AWAY, str(error))) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._no(breaker, access, "away")
            raise _Failed(Verdict(Kind.AWAY, type(error).__name__)) from None
        except BaseException:
            breaker.gone()
            raise
        return self._judged(breaker, access, answer, verdict, value)

    def _judged(
        self,
        breaker: Breaker,
        access: Access,
        answer: Answer,
        verdict: Verdict,
        value: T | None,
    ) -> T:
        if verdict.kind is Kind.AWAY:
            self._no(breaker, access, "away")
            raise _Failed(verdict, retry_after(answer.headers.get("retry-after")))
        # A host that says no has answered.
        breaker.yes()
        self._counted(access.platform, access.shop, verdict.kind)
        match verdict.kind:
            case Kind.FINE:
                return value  # type: ignore[return-value]  # it was read above
            case Kind.THROTTLED:
                raise _Failed(verdict, retry_after(answer.headers.get("retry-after")))
            case Kind.DENIED:
                raise CredentialsRefused(
                    self._sentence(access, "does not take the credentials", verdict)
                )
            case _:
                raise RequestRefused(self._sentence(access, "refuses the request", verdict))

    async def _answer(self, request: Request) -> Answer:
        async with self._open().request(
            request.method,
            # Signed as it is: no part of it may be quoted once more.
            URL(request.url, encoded=True),
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(_READ_CHUNK):
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise Unreadable(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(status=response.status, headers=headers, body=bytes(body))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._rule.within_s, connect=_CONNECT_WITHIN_S),
                connector=aiohttp.TCPConnector(limit_per_host=_CONNECTIONS_MAX),
                headers={"User-Agent": _AGENT, "Accept": "application/json"},
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    def _bucket(self, client: Client, access: Access, lane: str) -> Bucket:
        own = client.details_rate if lane == "details" else None
        if lane == "ship" and client.ships is not None:
            own = client.ships.rate
        if lane == "stock" and isinstance(client.stocks, Stocking):
            own = client.stocks.rate
        rate = access.rate or own or client.rate
        key = access.platform, access.shop, lane if own and not access.rate else "list"
        if lane in ("token", "subscriptions"):
            # Asked once an hour; the limits of listings are others'.
            rate, key = _SELDOM, (access.platform, access.shop, lane)
        kept = self._buckets.get(key)
        if kept is None or kept[0] != rate:
            kept = self._buckets[key] = rate, Bucket(rate, time.monotonic())
        return kept[1]

    def _breaker(self, request: Request) -> Breaker:
        return self._breakers.setdefault(_host(request.url), Breaker(self._rule.breaker))

    def _no(self, breaker: Breaker, access: Access, outcome: str) -> None:
        breaker.no(time.monotonic())
        self._counted(access.platform, access.shop, outcome)

    @staticmethod
    def _sentence(access: Access, what: str, verdict: Verdict) -> str:
        return f"{access.platform}/{access.shop}: {what}: {verdict.reason}"


_SELDOM = Rate(per_s=0.2, burst=5, stated="ours")


def _rests(sentence: str, for_s: float) -> PlatformUnavailable:
    """Return the error of a platform that is left alone for so long."""
    error = PlatformUnavailable(sentence)
    error.retry_after_s = for_s
    return error


def _host(url: str) -> str:
    return urlsplit(url).netloc
