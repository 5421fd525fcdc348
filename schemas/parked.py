"""
What could not be handled, kept whole: the original bytes, the reason, where it was met.

People see parked messages as the exceptions queue. Nothing is ever dropped instead.
"""

from msgspec import Struct

from schemas.base import Word


class Cause(Word):
    """Whose fault it was."""

    #: The payload or command is missing something or says something impossible.
    MALFORMED = "malformed"
    #: Not JSON, not UTF-8, not a message of ours.
    UNREADABLE = "unreadable"
    #: Nobody here reads this platform, or this shop is not known.
    UNKNOWN_PLATFORM = "unknown_platform"
    UNKNOWN_SHOP = "unknown_shop"
    #: The order's own time lies too far in the future.
    FUTURE = "future"
    #: A platform names the order and does not give it.
    NOT_FETCHED = "not_fetched"
    #: A destination did not take it, however often it was tried.
    NOT_DELIVERED = "not_delivered"
    #: Deciding it failed: our mistake.
    BUG = "bug"


class Stage(Word):
    """Where it was parked."""

    INTAKE = "intake"
    ORDERS = "orders"
    STOCK = "stock"
    LEDGER = "ledger"
    #: The poller asked for an order by its name, in vain: there are no bytes of it.
    FETCH = "fetch"
    #: On its way to a subscriber.
    CALLBACK = "callback"
    #: On its way to the platform that has to hear of a parcel.
    PUSH = "push"


class Parked(Struct, frozen=True, array_like=True, kw_only=True, tag=True, gc=False):
    """
    A message that could not be handled. Its id is the record's place: a repeat is no second.

    Of an order that was not fetched there is no record; its place is `fetch/<order key>/0/0`, and
    its value the name it was asked for by. Of what could not be delivered its place is
    `deliveries/0/<number>`.
    """

    #: `topic/partition/offset`.
    id: str
    stage: Stage
    cause: Cause
    #: Path of the field at fault; empty when it is the whole message.
    field: str
    #: One sentence.
    reason: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    #: The original bytes.
    value: bytes
    #: When the record was appended or received, ms.
    seen_ms: int
    platform: str | None = None
    shop: str | None = None
