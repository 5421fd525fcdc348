"""
Subscribers over HTTP: what `orderflow subscribers` does, for pages and scripts.

Promise: a secret is in the answer to whoever had it made, once, and in no other.
"""

from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct
from starlette.requests import Request

from agents.callbacks import Filter
from streams.callbacks import subscribers
from streams.callbacks.subscribers import AsItIs, NoSuchSubscriber, Wish
from streams.operations.operation import (
    Change,
    NotFound,
    Operation,
    Refused,
    house_of,
)
from streams.operations.rights import Right

T = TypeVar("T")
_Words = Annotated[tuple[str, ...], Meta(max_length=subscribers.FILTER_MAX)]


class WhichSubscribers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which subscribers are listed."""

    #: Also those that were removed.
    removed: bool = False


class WhichDeliveries(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries are shown; a page begins before the last number of the page before."""

    limit: Annotated[int, Meta(ge=1, le=subscribers.PAGE_MAX)] = 50
    before: Annotated[int, Meta(ge=1)] | None = None
    state: str | None = None


class NewSubscriber(Change, frozen=True, kw_only=True):
    """A subscriber, where it is and what it wants to know."""

    name: str
    url: str
    #: Events; empty: all.
    types: _Words = ()
    #: `platform` or `platform:shop`; empty: all.
    shops: _Words = ()
    at_once: Annotated[int, Meta(ge=1, le=subscribers.AT_ONCE_MAX)] = subscribers.AT_ONCE


class SubscriberChange(Change, frozen=True, kw_only=True):
    """Why a subscriber is changed."""


async def list_subscribers(request: Request, which: WhichSubscribers) -> Any:
    """Answer with the subscribers, and how each stands."""
    return {"subscribers": await subscribers.listed(house_of(request).dsn, removed=which.removed)}


async def show_subscriber(request: Request, _: None) -> Any:
    """Answer with one subscriber and what was done to it."""
    return await _answered(subscribers.one(house_of(request).dsn, _id(request)))


async def list_deliveries(request: Request, which: WhichDeliveries) -> Any:
    """Answer with what a subscriber was sent or is to be, and with every attempt."""
    rows = await _answered(
        subscribers.deliveries(
            house_of(request).dsn,
            _id(request),
            which.limit,
            before=which.before,
            state=which.state,
        )
    )
    return {"deliveries": rows}


async def add_subscriber(request: Request, asked: NewSubscriber) -> Any:
    """Add a subscriber; the answer has its secret, this once."""
    house = house_of(request)
    wish = Wish(asked.name, asked.url, Filter(asked.types, asked.shops), asked.at_once)
    made = await _answered(
        subscribers.add(
            house.dsn,
            wish,
            request.user.name,
            asked.reason,
            loopback=house.settings.callbacks_loopback,
        )
    )
    return made._asdict()


async def pause_subscriber(request: Request, asked: SubscriberChange) -> Any:
    """Let what it is told wait."""
    return await _changed(request, asked, subscribers.pause)


async def resume_subscriber(request: Request, asked: SubscriberChange) -> Any:
    """Send what waited, and what is new."""
    return await _changed(request, asked, subscribers.resume)


async def remove_subscriber(request: Request, asked: SubscriberChange) -> Any:
    """Tell it nothing more."""
    return await _changed(request, asked, subscribers.remove)


async def rotate_subscriber(request: Request, asked: SubscriberChange) -> Any:
    """Make a new secret, this once in the answer; the old one signs beside it for a day."""
    made = await _answered(
        subscribers.rotate(house_of(request).dsn, _id(request), request.user.name, asked.reason)
    )
    return made._asdict()


async def test_subscriber(request: Request, asked: SubscriberChange) -> Any:
    """Send it a message about no order; its deliveries tell what came of it."""
    number = await _answered(
        subscribers.test(house_of(request).dsn, _id(request), request.user.name, asked.reason)
    )
    return {"delivery": number}


async def _changed(request: Request, asked: SubscriberChange, change: Any) -> Any:
    dsn = house_of(request).dsn
    return {"id": await _answered(change(dsn, _id(request), request.user.name, asked.reason))}


async def _answered(work: Awaitable[T]) -> T:
    try:
        return await work
    except NoSuchSubscriber as error:
        raise NotFound(str(error)) from error
    except AsItIs as error:
        raise Refused(str(error)) from error


def _id(request: Request) -> str:
    return str(request.path_params["id"])


_ALL, _ONE = "/v1/subscribers", "/v1/subscribers/{id}"
OPERATIONS = (
    Operation(
        "GET",
        _ALL,
        list_subscribers,
        needs=Right.LOOK,
        summary="Subscribers, and how each stands",
        query=WhichSubscribers,
    ),
    Operation(
        "GET",
        _ONE,
        show_subscriber,
        needs=Right.LOOK,
        summary="One subscriber, by id or name, and what was done to it",
    ),
    Operation(
        "GET",
        f"{_ONE}/deliveries",
        list_deliveries,
        needs=Right.LOOK,
        summary="What a subscriber was sent or is to be, with every attempt",
        query=WhichDeliveries,
    ),
    Operation(
        "POST",
        _ALL,
        add_subscriber,
        needs=Right.SUBSCRIBERS,
        summary="Add a subscriber; the answer has its secret, this once",
        body=NewSubscriber,
    ),
    *(
        Operation(
            "POST",
            f"{_ONE}/{name}",
            handler,
            needs=Right.SUBSCRIBERS,
            summary=summary,
            body=SubscriberChange,
        )
        for name, handler, summary in (
            ("pause", pause_subscriber, "Let what a subscriber is told wait"),
            ("resume", resume_subscriber, "Send what waited, and what is new"),
            ("rotate", rotate_subscriber, "Make a new secret; the old one signs for a day more"),
            ("remove", remove_subscriber, "Tell a subscriber nothing more, also of what waits"),
            ("test", test_subscriber, "Send a message that is about no order"),
        )
    ),
)
