"""
Alerts and pauses of intake: what is on fire, who sees to it, and which shops wait.

The functions of `streams/alerting` and `streams/pausing`, as pages. Whoever acknowledges or pauses
is whoever is logged in.
"""

import time

from starlette.responses import Response

from schemas.errors import Rejected
from streams import topics
from streams.alerting.pages import SHOWN
from streams.alerting.store import LISTED_MAX, acknowledge, asked, listed
from streams.clock import now_ms
from streams.console.page import Page, Visit
from streams.operations.operation import NotFound, Refused
from streams.operations.rights import Right
from streams.pausing import table

_ID_LENGTH_MAX = 200
_SHOP_LENGTH_MAX = 200
#: So many pauses are shown, the oldest first.
_PAUSES_MAX = 200


async def list_alerts(visit: Visit) -> Response:
    """Show the alerts that are not over, or others."""
    state = visit.asked.one("state", "open") or "open"
    if state not in SHOWN:
        raise Rejected("unknown_word")
    async with asked(visit.house.operations) as connection:
        rows = await listed(connection, SHOWN[state], LISTED_MAX)
    return visit.show(
        "alerts.html", rows=rows, rows_max=LISTED_MAX, state=state, states=list(SHOWN)
    )


async def acknowledge_alert(visit: Visit) -> Response:
    """See to an alert."""
    id_, reason = visit.form.one("id"), visit.form.a_reason()
    if not 0 < len(id_) <= _ID_LENGTH_MAX:
        raise Rejected("no_alert")
    async with asked(visit.house.operations) as connection:
        done = await acknowledge(connection, id_, visit.known.name, reason, now_ms())
    if done.alert is None:
        raise NotFound("no_alert")
    if done.refused:
        by = done.alert["acknowledged_by"]
        raise Refused(visit.say(f"alert_is_{done.alert['state']}", by=by))
    return visit.go("/alerts")


async def list_pauses(visit: Visit) -> Response:
    """Show the shops whose intake is paused, or whose held messages are being read."""
    house = visit.house
    rows = await table.open_pauses(house.operations)
    lasting = table.lasting(rows, time.time(), house.settings.pause_max.total_seconds())
    return visit.show(
        "intake.html", rows=lasting[:_PAUSES_MAX], rows_max=_PAUSES_MAX, platforms=topics.PLATFORMS
    )


async def pause_intake(visit: Visit) -> Response:
    """Set aside what comes of a shop."""
    house, form, reason = visit.house, visit.form, visit.form.a_reason()
    try:
        await table.pause(
            house.settings, house.operations, form.one("platform"), _shop(visit),
            visit.known.name, reason,
        )  # fmt: skip
    except table.AsItIs as error:
        raise Refused(visit.say(f"shop_is_{error.why}", by=error.by)) from error
    return visit.go("/intake")


async def resume_intake(visit: Visit) -> Response:
    """Read what was set aside of a shop, in order, and go on."""
    house, form, reason = visit.house, visit.form, visit.form.a_reason()
    try:
        await table.resume(
            house.settings, house.operations, form.one("platform"), _shop(visit),
            visit.known.name, reason,
        )  # fmt: skip
    except table.AsItIs as error:
        raise Refused(visit.say(f"shop_is_{error.why}", by=error.by)) from error
    return visit.go("/intake")


def _shop(visit: Visit) -> str:
    shop = visit.form.one("shop")
    if not 0 < len(shop) <= _SHOP_LENGTH_MAX:
        raise Rejected("no_shop")
    return shop


_SHOP = ("platform", "shop")
PAGES = (
    Page("GET", "/alerts", list_alerts, needs=Right.LOOK),
    Page(
        "POST", "/alerts/acknowledge", acknowledge_alert,
        needs=Right.ALERTS, did="alerts.acknowledge", about=("id",),
    ),
    Page("GET", "/intake", list_pauses, needs=Right.LOOK),
    Page(
        "POST", "/intake/pause", pause_intake, needs=Right.PAUSE, did="intake.pause", about=_SHOP,
    ),
    Page(
        "POST", "/intake/resume", resume_intake, needs=Right.PAUSE, did="intake.resume",
        about=_SHOP,
    ),
)  # fmt: skip
