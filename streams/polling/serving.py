"""
The poller's process: two tasks a shop, one listener, one that hears silence, health and metrics.

Promise: a shop that cannot be read is told and does not stop the others; SIGTERM ends the process
within five seconds with 0, wherever it is: what is under way is repeated by the next start.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

from schemas.errors import Misconfigured, OrderflowError
from streams.clients.caller import Caller, CallRule
from streams.clients.calls import CredentialsRefused
from streams.clients.pacing import BreakerRule, RetryRule
from streams.clock import now_ms
from streams.ending import end
from streams.gateway.door import BrokerDoor
from streams.polling import accounts
from streams.polling.accounts import Account
from streams.polling.fetching import PASSING, Fetcher, Listener
from streams.polling.metrics import STATES, Metrics
from streams.polling.poller import Asker, Ended, Poller, Turn, TurnRule
from streams.polling.silence import SilenceWatch
from streams.polling.store import Store
from streams.polling.subscribing import Checked, check, is_asked
from streams.settings import Settings
from streams.topics import CHANNEL_EVENTS, PARKED
from streams.web.health import Health, served

logger = logging.getLogger(__name__)

#: A turn that failed is taken again after this, or after the usual pause if that is shorter.
_AGAIN_AFTER_S = 30.0
#: An idle fetcher looks this often, and at once when a name came in.
_LOOK_EVERY_S = 1.0
#: Ending takes at most this long for each part.
_STOP_WITHIN_S = 2.0

Told = Callable[[Turn, Checked | None], None]
Key = tuple[str, str]


class House:
    """Everything one process polls with."""

    def __init__(self, settings: Settings, chosen: Mapping[Key, Account]) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self.store = Store(settings)
        self.caller = Caller(call_rule(settings), self.metrics.call)
        platforms = sorted({platform for platform, _ in chosen})
        self.door = BrokerDoor(settings, platforms, (CHANNEL_EVENTS, PARKED))
        self.askers = {
            key: Asker(account, self.caller, self.door, self.metrics)
            for key, account in chosen.items()
        }
        rule = TurnRule(
            overlap_ms=_ms(settings.polling_overlap), first_ms=_ms(settings.polling_from)
        )
        self.pollers = {key: Poller(asker, self.store, rule) for key, asker in self.askers.items()}
        self.fetchers = {
            key: Fetcher(asker, self.store, self.caller)
            for key, asker in self.askers.items()
            if asker.client.thin_pushes
        }
        self.listener = Listener(settings, self.store, self.askers)
        self.watch = SilenceWatch(self.store, self.door, self.metrics)
        #: What each platform last said of a shop's subscriptions.
        self.subscriptions: dict[Key, Checked] = {}
        #: The last turn of each shop.
        self.last: dict[Key, Turn] = {}

    async def __aenter__(self) -> Self:
        await self.store.cursors()  # a database that is wrong is told before anything is asked
        await self.door.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for part in (self.door.stop(), self.store.close(), self.caller.close()):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(part, _STOP_WITHIN_S)

    async def turn(self, key: Key) -> Turn:
        """Take one shop's turn."""
        turn = await self.pollers[key].turn()
        self.last[key] = turn
        self.metrics.turn(*key, turn.ended)
        if turn.ended is Ended.DENIED:
            self.read_again()
        return turn

    async def subscribed(self, key: Key) -> None:
        """Ask a shop's platform what it pushes, where it tells."""
        account = self.askers[key].account
        if is_asked(account):
            self.subscriptions[key] = await check(account, self.caller, self.metrics)

    async def drain(self, key: Key) -> int:
        """Fetch what waits of one shop; return how many orders were settled."""
        settled = 0
        while key in self.fetchers and (some := await self.fetchers[key].some()):
            settled += some
        return settled

    def read_again(self) -> None:
        """Read the shops file anew, where tokens are renewed; a wrong one changes nothing."""
        try:
            found = accounts.read(self._settings.shops_file)
        except Misconfigured as error:
            logger.error("the credentials stay as they were: %s", error)  # noqa: TRY400  it says it all
            return
        for key, asker in self.askers.items():
            asker.account = found.get(key, asker.account)

    async def gauge(self) -> None:
        """Bring the gauges up to date."""
        now_s = now_ms() / 1000
        for host, state in self.caller.breakers().items():
            self.metrics.breaker.labels(host).set(STATES[state])
        for row in await self.store.cursors():
            if (key := (row["platform"], row["shop"])) in self.askers:
                self.metrics.lag.labels(*key).set(now_s - row["through"].timestamp())
        rows = {(row["platform"], row["shop"]): row for row in await self.store.waiting()}
        for key in self.fetchers:
            row = rows.get(key, {})
            oldest = row.get("oldest")
            self.metrics.waiting.labels(*key).set(row.get("waiting", 0))
            self.metrics.fetch_age.labels(*key).set(now_s - oldest.timestamp() if oldest else 0)


def call_rule(settings: Settings) -> CallRule:
    """Return how calls are made, as the settings say."""
    return CallRule(
        RetryRule(
            attempts_max=settings.polling_attempts_max,
            first_wait_s=settings.polling_first_wait.total_seconds(),
            wait_max_s=settings.polling_wait_max.total_seconds(),
        ),
        BreakerRule(
            after=settings.polling_breaker_after,
            for_s=settings.polling_breaker_for.total_seconds(),
        ),
        settings.polling_call_within.total_seconds(),
    )


def choose(settings: Settings, only: list[str]) -> dict[Key, Account]:
    """Return the shops to poll: all, or those named `platform` or `platform/shop`."""
    found = accounts.read(settings.shops_file)
    if not only:
        return found
    for each in only:
        if not any(each in (platform, f"{platform}/{shop}") for platform, shop in found):
            known = ", ".join(f"{platform}/{shop}" for platform, shop in found)
            raise Misconfigured(f"No shop {each} has an api in the shops file; it has {known}.")
    return {
        key: account for key, account in found.items() if key[0] in only or "/".join(key) in only
    }


async def once(
    settings: Settings, chosen: Mapping[Key, Account], told: Told
) -> list[tuple[Turn, Checked | None]]:
    """
    Take one turn of each shop, all at once, fetch what waits, and ask what is pushed.

    Return what came of them.
    """
    async with House(settings, chosen) as house:

        async def one(key: Key) -> tuple[Turn, Checked | None]:
            turn = await house.turn(key)
            if turn.ended is Ended.DONE:
                try:
                    turn.orders += await house.drain(key)
                except PASSING as error:
                    turn.ended, turn.why = Ended.AWAY, str(error)
            await house.subscribed(key)
            checked = house.subscriptions.get(key)
            told(turn, checked)
            return turn, checked

        return list(await asyncio.gather(*(one(key) for key in house.pollers)))


async def serve(settings: Settings, chosen: Mapping[Key, Account], told: Told) -> None:
    """Poll until SIGTERM; raises Misconfigured where it cannot begin."""
    loop, ending = asyncio.get_running_loop(), asyncio.Event()
    async with House(settings, chosen) as house, served(settings, health(house)):
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, ending.set)
        loop.add_signal_handler(signal.SIGHUP, house.read_again)
        logger.info("polling %d shops", len(house.pollers))
        tasks = [
            asyncio.create_task(work)
            for work in (
                # Where no platform pushes thin messages there is nothing to listen for.
                *([house.listener.run()] if house.fetchers else []),
                _silences(settings, house),
                *(_subscriptions(settings, house, key) for key in house.pollers),
                *(_turns(settings, house, key, told) for key in house.pollers),
                *(_fetches(settings, house, key) for key in house.fetchers),
            )
        ]
        waiting = asyncio.create_task(ending.wait())
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for failure in await end(waiting, *tasks):
            raise failure
        logger.info("the poller ends; what was under way is repeated by the next start")


async def _turns(settings: Settings, house: House, key: Key, told: Told) -> None:
    while True:
        turn = await house.turn(key)
        told(turn, None)  # what is pushed is told by the task that asks
        every = house.askers[key].account.every or settings.polling_every
        pause_s = every.total_seconds()
        if turn.ended not in (Ended.DONE, Ended.DENIED):
            open_s = house.caller.open_for(house.askers[key].access)
            pause_s = min(pause_s, open_s or _AGAIN_AFTER_S)
        await asyncio.sleep(pause_s)


async def _subscriptions(settings: Settings, house: House, key: Key) -> None:
    while True:
        await house.subscribed(key)
        await asyncio.sleep(settings.polling_subscriptions_every.total_seconds())


async def _silences(settings: Settings, house: House) -> None:
    while True:
        try:
            await house.watch.look(datetime.fromtimestamp(now_ms() / 1000, UTC))
        except OrderflowError as error:
            # Polling goes on; the gauges say how old they are.
            logger.warning("nobody listens whether a channel is silent: %s", error)
        await asyncio.sleep(settings.silence_every.total_seconds())


async def _fetches(settings: Settings, house: House, key: Key) -> None:
    named = house.listener.named
    while True:
        try:
            await house.drain(key)
        except CredentialsRefused:
            # The poller of the same shop tells it; this one asks again as often as that does.
            await asyncio.sleep(settings.polling_every.total_seconds())
            house.read_again()
        except PASSING as error:
            logger.warning("fetching waits: %s", error)
            open_s = house.caller.open_for(house.askers[key].access)
            asked_s = getattr(error, "retry_after_s", None)
            await asyncio.sleep(open_s or asked_s or _LOOK_EVERY_S)
        named.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(named.wait(), _LOOK_EVERY_S)


def health(house: House) -> Health:
    """Return what the process says about itself."""

    async def missing() -> Sequence[str]:
        return not_ready(house)

    return Health("poll", house.metrics.registry, missing, house.gauge)


def not_ready(house: House) -> list[str]:
    """Return a sentence for each shop that is not read as it should be."""
    said = [] if house.listener.listening else ["thin messages are not listened for"]
    for platform, shop in house.pollers:
        turn = house.last.get((platform, shop))
        if turn is None:
            said.append(f"{platform}/{shop}: its first turn has not ended")
        elif turn.ended is not Ended.DONE:
            said.append(f"{platform}/{shop}: {turn.ended}: {turn.why}")
    return said


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
