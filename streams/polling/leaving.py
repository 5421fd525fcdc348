"""
Orders that a platform names and does not give, in the end: exceptions like any other.

Such an order is parked with the stage `fetch` and the name it was asked for by, and `exceptions
retry` puts that name where the poller asks again. Its place in the queue is made of its name, so
however often it fails it is one exception.
"""

from msgspec import Struct, json

from schemas.parked import Cause, Parked, Stage

#: Opens the topic of an exception that is about no record.
FETCH = "fetch/"


class Named(Struct, frozen=True):
    """The name of an order, as it is kept for whoever tries again."""

    platform: str
    shop: str
    order: str


_encode = json.Encoder().encode
_decode = json.Decoder(Named).decode


def not_fetched(named: Named, why: str, at_ms: int) -> Parked:
    """Return the exception that says *why* there is nothing of an order."""
    key = f"{named.platform}:{named.shop}:{named.order}"
    topic = FETCH + key
    return Parked(
        id=f"{topic}/0/0",
        stage=Stage.FETCH,
        cause=Cause.NOT_FETCHED,
        field="",
        reason=why,
        topic=topic,
        partition=0,
        offset=0,
        key=key.encode(),
        value=_encode(named),
        seen_ms=at_ms,
        platform=named.platform,
        shop=named.shop,
    )


def named_by(value: bytes) -> Named:
    """Return the name that an exception was parked with."""
    return _decode(value)
