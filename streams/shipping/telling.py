"""
Parcels and stock told to platforms by the queue: its kinds `platform` and `stock`.

A shop's platform is a destination of the queue as soon as a sender with its `[shops.api]` has
begun: that is when `order.shipped` begins to be queued for it (streams/callbacks/sink.py), and,
where there is a `[shops.api.stock]`, what it may sell (streams/availability/levels.py). So the one
process that holds credentials is the one that says who can be told. A shop that is no longer in the
file is *gone*: nothing new is queued, and what waits waits until it is back.

Promises. One attempt is one attempt of `Shipper` or `Stocker`; what it may mean for the queue
stands in a table.
The shops file is read anew when credentials are refused and when it is asked for (SIGHUP); one that
is wrong then changes nothing.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from msgspec import DecodeError

from agents.channel_stock import level_in
from agents.deliveries import Answer, Outcome
from agents.shipments import Attempt, Told, decoded
from schemas.errors import Misconfigured, Unavailable
from schemas.parked import Stage
from streams.clients.caller import Caller, CallRule
from streams.clients.calls import Access, Client
from streams.clients.pacing import NEVER_OPENS, RetryRule
from streams.clients.shipping import Shipper
from streams.clients.stocking import Stocker
from streams.delivering.sender import Kind
from streams.delivering.store import Delivery, Store
from streams.polling.accounts import known
from streams.postgres.queries import sql
from streams.shipping.accounts import Known, Shop, accounts_of, stocked_shops, told_shops

logger = logging.getLogger(__name__)

KIND: Final = "platform"
STOCK: Final = "stock"
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
        self._stocker = Stocker(self._account, self._caller)
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
    def kinds(self) -> dict[str, Kind]:
        """Return what the queue knows of platforms."""
        return {
            KIND: Kind(self.tell_parcel, Stage.PUSH.value),
            STOCK: Kind(self.tell_level, Stage.PUSH.value),
        }

    async def introduce(self) -> None:
        """
        Make the shops known to the queue, and those gone that can be told no more.

        Raises Unavailable.
        """
        parcels = told_shops(self._known, self._within_s)
        stock = stocked_shops(self._known, self._within_s)
        async with self._store.connected() as connection, connection.transaction():
            gone = [
                *await _introduced(connection, KIND, parcels),
                *await _introduced(connection, STOCK, stock),
            ]
            await connection.execute(sql("forget_hosts_of_nobody"))
        for id_, what, waiting in gone:
            logger.warning(
                "the shops file does not have %s told of %s any more: %d wait", id_, what, waiting
            )
        logger.info(
            "parcels are told to %d shops' platforms, stock to %d", len(parcels), len(stock)
        )

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

    async def tell_parcel(self, delivery: Delivery) -> Answer:
        """Tell the platform of a parcel once."""
        try:
            push = decoded(delivery.body)
        except DecodeError as error:
            return _unread(error)
        return self._answer(await self._shipper.attempt(push))

    async def tell_level(self, delivery: Delivery) -> Answer:
        """Tell the platform once what may be sold of a listing."""
        try:
            level = level_in(delivery.body)
        except DecodeError as error:
            return _unread(error)
        return self._answer(await self._stocker.attempt(level))

    def _answer(self, said: Attempt) -> Answer:
        if said.told is Told.DENIED:
            self.read_again()  # for the next attempt: they may have been renewed
        why = said.why.replace("\0", "")  # a platform's words; PostgreSQL's texts have none
        return Answer(MEANS[said.told], why=why, retry_after_s=said.retry_after_s)


def _unread(error: DecodeError) -> Answer:
    return Answer(Outcome.DECLINED, why=f"what is to be told cannot be read: {error}")


async def _introduced(
    connection: Any, kind: str, shops: Sequence[Shop]
) -> list[tuple[str, str, int]]:
    """Make *shops* known; return who is told no more, of what, and how much waits."""
    ids = [shop.id for shop in shops]
    await connection.execute(
        sql("introduce_platforms"), kind, ids, [shop.host for shop in shops],
        [shop.at_once for shop in shops],
    )  # fmt: skip
    what = "stock" if kind == STOCK else "parcels"
    rows = await connection.fetch(sql("platforms_gone"), kind, ids)
    return [(row["id"], what, row["waiting"]) for row in rows]
