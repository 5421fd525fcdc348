"""A warehouse's word that a parcel left: what the command line and the API have in common."""

from typing import Any, Final

from schemas.errors import MAY_CHANGE, Refusal
from schemas.orders import OrderCommandAnswered, ParcelLine, ShipOrder
from streams.commanding import ask, command
from streams.settings import Settings

#: Refusal -> a sentence for whoever stands there with the parcel.
WHY_NOT: Final[dict[Refusal, str]] = {
    Refusal.UNKNOWN_ORDER: "no platform ever said anything of this order, or it has no such line",
    Refusal.CANNOT_SHIP: "the order is not paid, is on hold, closed or refunded, or waits for its "
    "stock: do not send it",
    Refusal.ALREADY_SHIPPED: "so much has left already, or this very parcel has",
    Refusal.NOT_HELD: "its stock is not held for this order",
    Refusal.TOO_LARGE: "the order has as many parcels as one may have",
    Refusal.ID_REUSED: "the same id came before with another content",
    Refusal.TOO_OLD: "the id is older than what is remembered",
}


def a_parcel(
    id_: str,
    order: str,
    carrier: str,
    tracking_number: str,
    lines: tuple[ParcelLine, ...],
    operator: str,
    reason: str,
) -> ShipOrder:
    """Return the command with its fields checked. Raises BadCommand naming the field."""
    made: ShipOrder = command(
        ShipOrder,
        id=id_,
        order=order,
        carrier=carrier.strip().upper(),
        tracking_number=tracking_number.strip(),
        lines=lines,
        reason=reason,
        operator=operator,
    )
    return made


async def say(
    settings: Settings, parcel: ShipOrder, within_s: float | None = None
) -> OrderCommandAnswered:
    """Send it and wait for its answer. Raises NoAnswer, BrokerUnavailable, Misconfigured."""
    answers: dict[str, Any] = await ask(settings, [parcel], within_s)
    said: OrderCommandAnswered = answers[parcel.id]
    return said


def why_not(said: OrderCommandAnswered) -> str:
    """Return the refusal as a sentence."""
    refusal = said.refusal or Refusal.BUG
    why = WHY_NOT.get(refusal, "deciding it failed; a person was told")
    again = (
        "It may be asked again later, with a new id."
        if MAY_CHANGE[refusal]
        else "Asking again will not change that."
    )
    return f"Refused: {said.refusal}: {why}. {again} (id {said.command})"
