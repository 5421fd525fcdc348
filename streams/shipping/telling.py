"""
Parcels told to their platforms by the queue: its kind `platform`.

A shop's platform is a destination of the queue as soon as a sender with its `[shops.api]` has
begun: that is when `order.shipped` begins to be queued for it (streams/callbacks/sink.py), and the
one process that holds credentials is the one that says who can be told. A shop that is no longer in
the file is *gone*: nothing new is queued, and what waits waits until it is back.

Promises. One attempt is one attempt of `Shipper`; what it may mean for the queue stands in a table.
The shops file is read anew when credentials are refused and when it is asked for (SIGHUP); one that
is wrong then changes nothing.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from msgspec import DecodeError

from agents.deliveries import Answer, Outcome
from agents.shipments import Told, decoded
from schemas.errors import Misconfigured, Unavailable
from schemas.parked import Stage
from streams.clients.caller import Caller, CallRule
from streams.clients.calls import Access, Client
from streams.clients.pacing import NEVER_OPENS, RetryRule
from streams.clients.shipping import Shipper
from streams.delivering.sender import Kind
from streams.delivering.store import Delivery, Store
from streams.polling.accounts import known
from streams.postgres.queries import sql
from streams.shipping.accounts import Known, accounts_of, told_shops

logger = logging.getLogger(__name__)

KIND: Final = "platform"
MEANS: Final[Mapping[Told, Outcome]] = MappingProxyType(
    {
        Told.TAKEN: Outcome.TAKEN,
        Told.ALREADY: Outcome.TAKEN,
        Told.REFUSED: Outcome.DECLINED,
        Told.LATER: Outcome.THROTTLED,
        Told.AWAY: Outcome.AWAY,
        Told.DENIED: Outcome.DENIED,
    }
)
#: Attempts and breaker are the queue's.
_ONE_ATTEMPT: Final = RetryRule(attempts_max=1, first_wait_s=0.0, wait_max_s=0.0)


class Teller:
    """Tells platforms: `async with Teller(store, file, within_s) as teller`."""

    def __init__(self, store: Store, file: Path, within_s: float) -> None:
        """Raises Misconfigured where *file*, the shops file, is wrong."""
        self._store, self._file, self._within_s = store, file, within_s
        self._known: Known = known(file)
        self._caller = Caller(CallRule(_ONE_ATTEMPT, NEVER_OPENS, within_s))
        self._shipper = Shipper(self._account, self._caller)
        self._introducing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._introducing is not None:
            self._introducing.cancel()
            await asyncio.wait([self._introducing])
        await self._caller.close()

    def _account(self, platform: str, shop: str) -> tuple[Client, Access] | None:
        return accounts_of(self._known)(platform, shop)

    @property
    def kind(self) -> Kind:
        """Return what the queue knows of platforms."""
        return Kind(self.attempt, Stage.PUSH.value)

    async def introduce(self) -> None:
        """
        Make the shops known to the queue, and those gone that can be told no more.

        Raises Unavailable.
        """
        shops = told_shops(self._known, self._within_s)
        ids = [shop.id for shop in shops]
        async with self._store.connected() as connection, connection.transaction():
            await connection.execute(
                sql("introduce_platforms"), KIND, ids, [shop.host for shop in shops],
                [shop.at_once for shop in shops],
            )  # fmt: skip
            gone = await connection.fetch(sql("platforms_gone"), KIND, ids)
            await connection.execute(sql("forget_hosts_of_nobody"))
        for row in gone:
            logger.warning(
                "%s has no [shops.api] any more: its parcels are not told, %d wait",
                row["id"], row["waiting"],
            )  # fmt: skip
        logger.info("parcels are told to %d shops' platforms", len(ids))

    def read_again(self) -> bool:
        """Read the shops file anew; a wrong one changes nothing."""
        try:
            self._known = known(self._file)
        except Misconfigured as error:
            logger.error("the shops stay as they were: %s", error)  # noqa: TRY400  it says it all
            return False
        return True

    def introduce_again(self) -> None:
        """Read the shops file anew and make known what it says, in the background."""
        if self.read_again() and (self._introducing is None or self._introducing.done()):
            self._introducing = asyncio.ensure_future(self._introduce())

    async def _introduce(self) -> None:
        try:
            await self.introduce()
        except Unavailable as error:
            logger.error("the queue does not know the shops yet; ask again: %s", error)  # noqa: TRY400

    async def attempt(self, delivery: Delivery) -> Answer:
        """Tell the platform once."""
        try:
            push = decoded(delivery.body)
        except DecodeError as error:
            return Answer(Outcome.DECLINED, why=f"what is to be told cannot be read: {error}")
        said = await self._shipper.attempt(push)
        if said.told is Told.DENIED:
            self.read_again()  # for the next attempt: they may have been renewed
        why = said.why.replace("\0", "")  # a platform's words; PostgreSQL's texts have none
        return Answer(MEANS[said.told], why=why, retry_after_s=said.retry_after_s)
