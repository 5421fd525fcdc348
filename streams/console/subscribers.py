"""
Who is told of orders by webhook: the functions of `streams/callbacks/subscribers.py`, as pages.

Promises: a secret is in the answer to the form that had it made, once, and in no other page. A form
that is sent twice is done once; the second is told so. An address is shown without its query.
"""

from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.responses import Response

from agents.callbacks import TYPES, Filter
from agents.deliveries import Standing, State
from streams.callbacks import subscribers
from streams.callbacks.subscribers import AsItIs, NoSuchSubscriber, Wish
from streams.console.page import Handler, Page, Visit
from streams.operations.operation import NotFound, Refused
from streams.operations.rights import Right

T = TypeVar("T")

PAGE = 50
#: What a form does to a subscriber, and to which it can be done.
CHANGES: dict[str, tuple[Any, frozenset[Standing]]] = {
    "test": (subscribers.test, frozenset({Standing.ACTIVE})),
    "pause": (subscribers.pause, frozenset({Standing.ACTIVE})),
    "resume": (subscribers.resume, frozenset({Standing.PAUSED, Standing.GONE})),
    "rotate": (
        subscribers.rotate,
        frozenset({Standing.ACTIVE, Standing.PAUSED, Standing.GONE}),
    ),
    "remove": (
        subscribers.remove,
        frozenset({Standing.ACTIVE, Standing.PAUSED, Standing.GONE}),
    ),
}


async def list_subscribers(visit: Visit) -> Response:
    """Show the subscribers and how each stands, and the form for another."""
    removed = visit.asked.one("removed") == "1"
    rows = await subscribers.listed(visit.house.operations, removed=removed)
    return visit.show(
        "subscribers.html", rows=rows, removed=removed, types=TYPES, at_once=subscribers.AT_ONCE
    )


async def show_subscriber(visit: Visit) -> Response:
    """Show one subscriber: what was done to it, and what it was sent or is to be."""
    called, state = visit.asked.one("id"), visit.asked.one("state")
    dsn = visit.house.operations
    row = await _answered(subscribers.one(dsn, called))
    sent = await _answered(
        subscribers.deliveries(
            dsn, row["id"], PAGE + 1, before=visit.asked.a_number("before"), state=state or None
        )
    )
    standing = row["standing"]
    return visit.show(
        "subscriber.html", row=row, state=state, states=list(State), sent=sent[:PAGE],
        before=sent[PAGE - 1]["id"] if len(sent) > PAGE else "",
        changes=[name for name, (_, when) in CHANGES.items() if standing in when],
    )  # fmt: skip


async def add_subscriber(visit: Visit) -> Response:
    """Add a subscriber, and show its secret."""
    form, reason = visit.form, visit.form.a_reason()
    at_once = form.a_number("at_once")
    wish = Wish(
        form.one("name"), form.one("url"),
        Filter(tuple(form.all("type")), tuple(form.one("shops").split())),
        subscribers.AT_ONCE if at_once is None else at_once,
    )  # fmt: skip
    made = await _answered(
        subscribers.add(
            visit.house.operations, wish, visit.known.name, reason,
            loopback=visit.house.settings.callbacks_loopback,
        )
    )  # fmt: skip
    return visit.show("subscriber_secret.html", made=made, name=wish.name, rotated=False)


async def rotate_subscriber(visit: Visit) -> Response:
    """Make a new secret, and show it."""
    called, reason = visit.form.one("id"), visit.form.a_reason()
    dsn = visit.house.operations
    made = await _answered(subscribers.rotate(dsn, called, visit.known.name, reason))
    return visit.show("subscriber_secret.html", made=made, name=called, rotated=True)


def _changing(name: str) -> Handler:
    async def change(visit: Visit) -> Response:
        called, reason = visit.form.one("id"), visit.form.a_reason()
        do, _ = CHANGES[name]
        await _answered(do(visit.house.operations, called, visit.known.name, reason))
        return visit.go("/subscriber", id=called)

    change.__name__ = f"{name}_subscriber"
    return change


async def _answered(work: Awaitable[T]) -> T:
    try:
        return await work
    except NoSuchSubscriber as error:
        raise NotFound("no_subscriber") from error
    except AsItIs as error:
        raise Refused(str(error)) from error


def _form(name: str, handler: Handler, about: str = "id") -> Page:
    return Page(
        "POST", f"/subscriber/{name}", handler,
        needs=Right.SUBSCRIBERS, did=f"subscribers.{name}", about=(about,), once=True,
    )  # fmt: skip


PAGES = (
    Page("GET", "/subscribers", list_subscribers, needs=Right.SUBSCRIBERS),
    Page("GET", "/subscriber", show_subscriber, needs=Right.SUBSCRIBERS),
    _form("add", add_subscriber, "name"),
    _form("rotate", rotate_subscriber),
    *(_form(name, _changing(name)) for name in CHANGES if name != "rotate"),
)
