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
from collections.abc import Mapping
from typing import Final

from agents.carriers import NotKnown, known_as
from agents.shipments import Attempt, Push, Told
from schemas.errors import MalformedPayload, Rejected
from schemas.orders import Status
from streams.adapters import ADAPTERS
from streams.clients.attempts import Accounts, Steps, attempted, nobody, refused, taken
from streams.clients.caller import Caller
from streams.clients.calls import (
    Access,
    Client,
    Label,
    Parcel,
    RequestRefused,
    Shipping,
)

logger = logging.getLogger(__name__)

#: An order in these has left, whatever the number on its parcel.
_LEFT: Final = frozenset({Status.SHIPPED, Status.DELIVERED, Status.COMPLETED})


class Shipper:
    """Tells platforms of parcels."""

    def __init__(self, accounts: Accounts, caller: Caller) -> None:
        self._accounts = accounts
        self._caller = caller

    async def attempt(self, push: Push) -> Attempt:
        """Tell the platform once. Raises nothing for what the other side does."""
        account = self._accounts(push.platform, push.shop)
        if account is None:
            return nobody(push.platform, push.shop)
        client, access = account
        if client.ships is None:
            return refused(f"{push.platform} cannot be told of parcels")
        labels = _labels(push, access.carriers)
        if isinstance(labels, NotKnown):
            return refused(labels.why)
        work = self._told(client, client.ships, access, Parcel(push, labels))
        return await attempted(f"{push.platform}/{push.shop}", work)

    async def _told(
        self, client: Client, ships: Shipping, access: Access, parcel: Parcel
    ) -> Attempt:
        push, look = parcel.push, ships.look
        if ships.repeats and await self._has(client, access, push):
            return Attempt(Told.ALREADY, "the order has this parcel")
        steps = Steps(
            look and (lambda access, now_ms: look(access, push, now_ms)),
            lambda access, seen, now_ms: ships.ask(access, parcel, seen, now_ms),
            ships.verdict,
        )
        try:
            await taken(self._caller, client, access, steps, "ship")
        except (RequestRefused, ValueError) as error:
            if await self._has(client, access, push):
                return Attempt(Told.ALREADY, f"the order has left there already ({error})")
            return refused(str(error))
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
