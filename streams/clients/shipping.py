"""
One attempt at telling a platform of a parcel: what a queue calls when a push is due.

    carrier ──> (look) ──> ask ──> taken
       │                    ├────> away, later (throttled), denied (the credentials)
       │                    └────> refused ──> look at the order ──> already there, or refused
       └──> refused: no code of it is known

Promises. One attempt is one attempt: when there is another, and how many, is the queue's to say. A
refusal is looked into before it is believed: platforms refuse a parcel that they have, each in
words of its own, and the order itself says whether they do. So asking again after an answer was
lost does no harm. Nothing secret is in a sentence.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from agents.carriers import NotKnown, known_as
from agents.shipments import Attempt, Push, Told
from schemas.errors import MalformedPayload, Rejected
from schemas.orders import Status
from streams.adapters import ADAPTERS
from streams.clients.caller import Caller
from streams.clients.calls import (
    Access,
    Answer,
    Client,
    CredentialsRefused,
    Label,
    Parcel,
    PlatformUnavailable,
    RequestRefused,
    Shipping,
    Unreadable,
)

logger = logging.getLogger(__name__)

#: An order in these has left, whatever the number on its parcel.
_LEFT: Final = frozenset({Status.SHIPPED, Status.DELIVERED, Status.COMPLETED})
#: Credentials are renewed by a person or by another system: soon is not soon enough.
DENIED_AGAIN_S: Final = 30.0

#: Platform and shop -> who is called, and as whom; None: no such shop.
Accounts = Callable[[str, str], tuple[Client, Access] | None]


class Shipper:
    """Tells platforms of parcels."""

    def __init__(self, accounts: Accounts, caller: Caller) -> None:
        self._accounts = accounts
        self._caller = caller

    async def attempt(self, push: Push) -> Attempt:
        """Tell the platform once. Raises nothing for what the other side does."""
        account = self._accounts(push.platform, push.shop)
        if account is None:
            return _no(
                f"{push.platform}/{push.shop} has no [shops.api] in the shops file: nobody can be "
                "told there"
            )
        client, access = account
        if client.ships is None:
            return _no(f"{push.platform} cannot be told of parcels")
        labels = _labels(push, access.carriers)
        if isinstance(labels, NotKnown):
            return _no(labels.why)
        try:
            return await self._told(client, client.ships, access, Parcel(push, labels))
        except PlatformUnavailable as error:
            told = Told.LATER if error.throttled else Told.AWAY
            return Attempt(told, str(error), error.retry_after_s)
        except Unreadable as error:
            return Attempt(Told.AWAY, f"{push.platform}/{push.shop}: {error}")
        except CredentialsRefused as error:
            return Attempt(Told.DENIED, str(error), DENIED_AGAIN_S)

    async def _told(
        self, client: Client, ships: Shipping, access: Access, parcel: Parcel
    ) -> Attempt:
        push, seen = parcel.push, b""
        if ships.repeats and await self._has(client, access, push):
            return Attempt(Told.ALREADY, "the order has this parcel")
        try:
            if ships.look is not None:
                look = ships.look
                seen = await self._caller.once(
                    client,
                    access,
                    lambda access, now_ms: look(access, push, now_ms),
                    _body_of,
                    lane="ship",
                )
            await self._caller.once(
                _judging(client, ships),
                access,
                lambda access, now_ms: ships.ask(access, parcel, seen, now_ms),
                _body_of,
                lane="ship",
            )
        except (RequestRefused, ValueError) as refused:
            if await self._has(client, access, push):
                return Attempt(Told.ALREADY, f"the order has left there already ({refused})")
            return _no(str(refused))
        return Attempt(Told.TAKEN)

    async def _has(self, client: Client, access: Access, push: Push) -> bool:
        """Look whether the platform has the parcel, or the order as shipped. Raises as a call."""
        try:
            found = await self._caller.once(
                client,
                access,
                lambda access, now_ms: client.details(access, (push.order_id,), now_ms),
                client.read_details,
                lane="details",
            )
        except (RequestRefused, ValueError):
            return False
        body = found.get(push.order_id)
        return body is not None and _shows(body, push)


def _shows(body: bytes, push: Push) -> bool:
    """Read an order in its platform's words, as intake does."""
    try:
        statements = ADAPTERS[push.platform].parse(body, push.shop)
    except (MalformedPayload, Rejected) as error:
        logger.warning("%s: the order cannot be read: %s", push.order, error)
        return False
    number = push.waybills[0].tracking_number
    return any(
        said.status in _LEFT or any(each.tracking_number == number for each in said.shipments)
        for said in statements
        if said.order_id == push.order_id
    )


def _labels(push: Push, own: Mapping[str, str]) -> tuple[Label, ...] | NotKnown:
    labels = []
    for waybill in push.waybills:
        known = known_as(push.platform, waybill.carrier, own)
        if isinstance(known, NotKnown):
            return known
        labels.append(Label(known, waybill.tracking_number))
    return tuple(labels)


def _judging(client: Client, ships: Shipping) -> Client:
    return replace(client, verdict=ships.verdict)


def _body_of(answer: Answer) -> bytes:
    return answer.body


def _no(why: str) -> Attempt:
    return Attempt(Told.REFUSED, why)
