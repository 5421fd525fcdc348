"""
One shop's turns: everything that was modified since the cursor goes on the raw topic, and then, and
only then, the cursor moves.

    cursor - overlap        cursor                                     now - settled
        |----------------------|----- window -----|----- window -----|-- ...
                                 pages, orders, acks; the cursor moves to the window's end

Promise: what lies before a cursor is on the topic (acks=all). A process that is killed anywhere
repeats the window it was in, which is harmless: an order's statement is idempotent by its version.
An order that is modified while its window is read leaves it for a later window and is read there.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agents.letters import seal
from schemas.base import Word
from schemas.errors import BrokerUnavailable, LedgerUnavailable, OrderflowError
from streams.clients.caller import Caller
from streams.clients.calls import (
    Access,
    Answer,
    Client,
    CredentialsRefused,
    Page,
    PlatformUnavailable,
    RequestRefused,
    Window,
)
from streams.clock import now_ms
from streams.gateway.door import BrokerDoor
from streams.polling.accounts import Account
from streams.polling.leaving import Named, not_fetched
from streams.polling.metrics import Metrics
from streams.polling.store import Store
from streams.topics import PARKED

logger = logging.getLogger(__name__)

_SECOND_MS = 1000
#: A listing of more pages goes round in circles.
_PAGES_MAX = 10_000
#: Records that wait for the broker's acknowledgement together.
_TOGETHER = 200


class Ended(Word):
    """How a turn ended."""

    DONE = "done"
    #: The platform's credentials: a person has to act.
    DENIED = "denied"
    #: The platform does not answer, or not now.
    AWAY = "away"
    #: The platform refuses what it is asked.
    REFUSED = "refused"
    #: Kafka or PostgreSQL does not answer.
    OURS_AWAY = "ours_away"
    #: A mistake of ours.
    BUG = "bug"


@dataclass(kw_only=True, slots=True)
class Turn:
    """What came of one turn."""

    platform: str
    shop: str
    ended: Ended = Ended.DONE
    orders: int = 0
    windows: int = 0
    #: All that was modified up to then is on the topic; none: nothing is known yet.
    through_ms: int | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnRule:
    """How a shop is polled."""

    overlap_ms: int
    #: A shop that was never polled is read from so long ago.
    first_ms: int


class Asker:
    """Asks one shop's platform for pages and orders, and puts orders on the topic."""

    def __init__(
        self, account: Account, caller: Caller, door: BrokerDoor, metrics: Metrics
    ) -> None:
        self.account = account
        self._caller = caller
        self._door = door
        self._metrics = metrics

    @property
    def client(self) -> Client:
        """What is known of the platform."""
        return self.account.client

    @property
    def access(self) -> Access:
        """The shop's credentials, as they are now."""
        return self.account.access

    async def page(self, window: Window, mark: str | None) -> Page:
        """Return one page of what was modified in *window*."""
        listing, read = self.client.listing, self.client.read_page

        def ask(access: Access, at_ms: int) -> Any:
            return listing(access, window, mark, at_ms)

        def page_of(answer: Answer) -> Page:
            return read(answer, mark)

        return await self._caller.call(self.client, self.access, ask, page_of)

    async def orders(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the orders *ids*, as many as the platform gives; at most `details_max` of them."""
        details = self.client.details

        def ask(access: Access, at_ms: int) -> Any:
            return details(access, tuple(ids), at_ms)

        found = await self._caller.call(
            self.client, self.access, ask, self.client.read_details, lane="details"
        )
        return {each: found[each] for each in ids if each in found}

    async def publish(self, orders: Sequence[bytes], way: str) -> None:
        """Return when the broker has all *orders*; raises BrokerUnavailable."""
        put = partial(self._door.put, self.access.platform, self.access.shop)
        for some in _in_parts(orders, _TOGETHER):
            done = await asyncio.gather(*map(put, some), return_exceptions=True)
            for each in done:
                if isinstance(each, BaseException):
                    raise each
        self._metrics.orders(self.access.platform, self.access.shop, way, len(orders))

    async def leave(self, order_id: str, why: str) -> None:
        """Leave an order to a person, once the broker has the exception; or BrokerUnavailable."""
        platform, shop = self.access.platform, self.access.shop
        logger.error("%s/%s: order %s: %s", platform, shop, order_id, why)
        parked = not_fetched(Named(platform, shop, order_id), why, now_ms())
        await self._door.send(PARKED.name, parked.id.encode(), seal(parked))
        self._metrics.left(platform, shop)


class Poller:
    """One shop's turns."""

    def __init__(
        self, asker: Asker, store: Store, rule: TurnRule, clock: Callable[[], int] = now_ms
    ) -> None:
        self._clock = clock
        self._asker = asker
        self._store = store
        self._rule = rule

    async def turn(self) -> Turn:
        """Read what was modified up to now; whatever goes wrong ends the turn and is told."""
        access = self._asker.access
        turn = Turn(platform=access.platform, shop=access.shop)
        try:
            await self._read_on(turn)
        except CredentialsRefused as error:
            turn.ended, turn.why = Ended.DENIED, str(error)
        except PlatformUnavailable as error:
            turn.ended, turn.why = Ended.AWAY, str(error)
        except RequestRefused as error:
            turn.ended, turn.why = Ended.REFUSED, str(error)
        except (BrokerUnavailable, LedgerUnavailable) as error:
            turn.ended, turn.why = Ended.OURS_AWAY, str(error)
        except OrderflowError:
            raise
        except Exception as error:  # a shop's turn must not end the others'
            logger.exception("%s/%s: a turn failed", access.platform, access.shop)
            turn.ended, turn.why = Ended.BUG, type(error).__name__
        return turn

    async def _read_on(self, turn: Turn) -> None:
        client, now = self._asker.client, self._clock()
        # A window ends with a second that is over. An order dated into one that is being read would
        # move the others between its pages.
        until = _whole_s(now - int(client.settled_after.total_seconds() * 1000)) - _SECOND_MS
        kept = await self._store.cursor(turn.platform, turn.shop)
        turn.through_ms = kept
        # A cursor that a clock ahead of time has left is no reason to read nothing.
        through = min(until, now - self._rule.first_ms if kept is None else kept)
        start = _whole_s(through - self._rule.overlap_ms)
        longest = int(client.window_max.total_seconds() * 1000)
        while start < until:
            window = Window(start, min(start + longest, until))
            window, count = await self._read_window(window)
            turn.windows += 1
            turn.orders += count
            if kept is None or window.to_ms > kept:
                await self._store.move(turn.platform, turn.shop, window.to_ms)
                turn.through_ms = kept = window.to_ms
            # Both ends of a window belong to it, so its last second is not read twice for nothing.
            start = window.to_ms

    async def _read_window(self, window: Window) -> tuple[Window, int]:
        """Put all of *window*, or of its first part, on the topic; return what was read."""
        mark, count = None, 0
        for _ in range(_PAGES_MAX):
            page = await self._asker.page(window, mark)
            if page.next and self._asker.client.shifts and mark is None and _is_long(window):
                window = Window(window.from_ms, _whole_s(sum(window) // 2))
                continue
            count += await self._put(page)
            mark = page.next
            if mark is None:
                return window, count
        raise PlatformUnavailable(f"a listing of more than {_PAGES_MAX} pages goes in circles")

    async def _put(self, page: Page) -> int:
        await self._asker.publish(page.orders, "poll")
        for ids in _in_parts(page.ids, self._asker.client.details_max):
            found = await self._asked_for(ids)
            await self._asker.publish(list(found.values()), "poll")
        return len(page.orders) + len(page.ids)

    async def _asked_for(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the orders; one that is listed and cannot be had is left to a person."""
        try:
            found = await self._asker.orders(ids)
        except RequestRefused as error:
            if len(ids) == 1:
                await self._asker.leave(ids[0], str(error))
                return {}
            found = {}
        for each in [each for each in ids if each not in found]:
            if len(ids) == 1:
                await self._asker.leave(each, "the platform lists it and does not give it")
            else:
                found |= await self._asked_for([each])
        return found


def _in_parts(some: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for at in range(0, len(some), size):
        yield some[at : at + size]


def _whole_s(at_ms: int) -> int:
    return at_ms // _SECOND_MS * _SECOND_MS


def _is_long(window: Window) -> bool:
    return window.to_ms - window.from_ms >= 2 * _SECOND_MS
