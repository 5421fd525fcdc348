"""
Errors, told apart by who must act; and refusals, which are no errors at all.

    OrderflowError
    ├── Rejected            the message is at fault: parked at once, with its bytes
    │   ├── MalformedPayload    a field is missing, of the wrong kind or out of range
    │   ├── UnknownPlatform     nobody here reads this platform
    │   └── UndecodableMessage  not even the envelope could be read
    ├── Unavailable         the world is at fault: wait, try again, bounded
    │   ├── LedgerUnavailable
    │   ├── BrokerUnavailable
    │   ├── CacheUnavailable
    │   └── ChannelUnavailable
    ├── Misconfigured       the installation is at fault: refuse to start
    └── PartitionHalted     one partition contradicts itself: a person decides, the others go on

A refusal ("not enough stock") is a value of `Refusal`: a normal answer, never raised.
"""

from schemas.base import Word


class OrderflowError(Exception):
    """Something went wrong that orderflow knows by name."""

    def __str__(self) -> str:
        """An error cannot exist without saying what it means."""
        return super().__str__() or (self.__doc__ or "").strip()


class Rejected(OrderflowError):  # noqa: N818  the name says who must act
    """The message cannot be handled, and will not be handled better the next time."""


class MalformedPayload(Rejected):
    """A field of the payload is missing or wrong."""

    def __init__(self, field: str, why: str) -> None:
        """Name the *field* (a path such as `orders.order[1].num`) and say *why* it is wrong."""
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


class UnknownPlatform(Rejected):
    """No adapter is registered for this platform."""


class UndecodableMessage(Rejected):
    """The bytes are not a message of ours."""


class Unavailable(OrderflowError):  # noqa: N818  the name says who must act
    """A part of the world is away; it may come back."""


class LedgerUnavailable(Unavailable):
    """PostgreSQL does not answer."""


class BrokerUnavailable(Unavailable):
    """Kafka does not answer."""


class CacheUnavailable(Unavailable):
    """Redis does not answer."""


class ChannelUnavailable(Unavailable):
    """A shop's channel does not take what it is told about stock."""


class Misconfigured(OrderflowError):  # noqa: N818  the name says who must act
    """The installation contradicts itself; nothing was started."""


class PartitionHalted(OrderflowError):  # noqa: N818  the name says who must act
    """A partition contradicts itself and was halted; the others go on."""


class Refusal(Word):
    """Why the answer is no, in order of precedence: the first that applies is the answer."""

    #: The command's id carries a time before what the row remembers.
    TOO_OLD = "too_old"
    #: The same id came before with other content.
    ID_REUSED = "id_reused"
    #: Letters of two alphabets, invisible characters, or another spelling of a known SKU.
    MISSPELT_SKU = "misspelt_sku"
    #: No shop has a warehouse of this name.
    UNKNOWN_WAREHOUSE = "unknown_warehouse"
    #: Nothing was ever received for this SKU.
    UNKNOWN_SKU = "unknown_sku"
    #: No platform ever said anything of this order, or it names no such SKU.
    UNKNOWN_ORDER = "unknown_order"
    #: The window ends before it starts, is over, or is not the one the quota has.
    WRONG_WINDOW = "wrong_window"
    #: No such quota of this SKU, or its window is over.
    UNKNOWN_QUOTA = "unknown_quota"
    #: The order has no such case that is open.
    CASE_CLOSED = "case_closed"
    #: Fewer units are available than asked for.
    NOT_ENOUGH = "not_enough"
    #: No live hold of this order on this SKU.
    NOT_HELD = "not_held"
    #: More came back than was shipped and is not back yet.
    NOT_SHIPPED = "not_shipped"
    #: The order is not paid, is on hold, closed or refunded, or waits for an answer of the stock.
    CANNOT_SHIP = "cannot_ship"
    #: Fewer units of it have not left yet, or this very parcel has.
    ALREADY_SHIPPED = "already_shipped"
    #: A bucket or a row would grow beyond its limit.
    TOO_LARGE = "too_large"
    #: Deciding the command failed; it is parked and a person was told.
    BUG = "bug"


#: Could the same request be answered otherwise later?
MAY_CHANGE: dict[Refusal, bool] = {
    Refusal.TOO_OLD: False,
    Refusal.ID_REUSED: False,
    Refusal.MISSPELT_SKU: False,
    Refusal.UNKNOWN_WAREHOUSE: True,
    Refusal.UNKNOWN_SKU: True,
    Refusal.UNKNOWN_ORDER: True,
    Refusal.WRONG_WINDOW: False,
    Refusal.UNKNOWN_QUOTA: True,
    Refusal.CASE_CLOSED: False,
    Refusal.NOT_ENOUGH: True,
    Refusal.NOT_HELD: False,
    Refusal.NOT_SHIPPED: True,
    Refusal.CANNOT_SHIP: True,
    Refusal.ALREADY_SHIPPED: False,
    Refusal.TOO_LARGE: True,
    Refusal.BUG: True,
}
