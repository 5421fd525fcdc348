"""
Alerts over HTTP: what is open, and who sees to it.

Promise: an acknowledgement carries the name of whoever is signed in, never one from the request.
409 says who was first.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from starlette.requests import Request

from schemas.alerts import State
from streams.alerting.store import LISTED_MAX, acknowledge, asked, listed
from streams.clock import now_ms
from streams.operations.operation import Change, NotFound, Operation, Refused, house_of
from streams.operations.rights import Right

#: `?state=` -> the states it shows.
SHOWN: Final[Mapping[str, tuple[State, ...]]] = MappingProxyType(
    {
        "open": (State.FIRING, State.ACKNOWLEDGED),
        "pending": (State.PENDING,),
        "resolved": (State.RESOLVED,),
        "all": tuple(State),
    }
)


class WhichAlerts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which alerts are shown, and how many."""

    state: Literal["open", "pending", "resolved", "all"] = "open"
    limit: Annotated[int, Meta(ge=1, le=LISTED_MAX)] = 50


class Acknowledgement(Change, frozen=True, kw_only=True):
    """What is done about an alert, for those who wonder."""


async def list_alerts(request: Request, which: WhichAlerts) -> Any:
    """Answer with the alerts that are not over first, then the latest."""
    async with asked(house_of(request).dsn) as connection:
        return {"alerts": await listed(connection, SHOWN[which.state], which.limit)}


async def acknowledge_alert(request: Request, said: Acknowledgement) -> Any:
    """See to an alert, called by its id or the six letters of its messages."""
    async with asked(house_of(request).dsn) as connection:
        id_, name = request.path_params["id"], request.user.name
        done = await acknowledge(connection, id_, name, said.reason, now_ms())
    if done.alert is None:
        raise NotFound(done.refused)
    if done.refused:
        raise Refused(done.refused)
    return {"alert": done.alert}


OPERATIONS = (
    Operation(
        "GET",
        "/v1/alerts",
        list_alerts,
        needs=Right.LOOK,
        summary="Alerts, those that are not over first",
        query=WhichAlerts,
    ),
    Operation(
        "POST",
        "/v1/alerts/{id}/acknowledge",
        acknowledge_alert,
        needs=Right.ALERTS,
        summary="See to an alert: it is not told again",
        body=Acknowledgement,
    ),
)
