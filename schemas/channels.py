"""
What is told of a channel: that it says nothing against its usual rate, and that it is over.

Both ends of one silence carry its number, and each is one event however often it is sent: its
`ce_id` is made of the number and the end.
"""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.base import Word

#: Platform and shop, as in an order's key.
_Name = Annotated[str, Meta(min_length=1)]


class TalksAgain(Word):
    """How a silence ended."""

    #: An order came.
    ORDER = "order"
    #: It was quiet for so long that nothing is expected of it any more.
    FORGOTTEN = "forgotten"


class ChannelEvent(Struct, frozen=True, kw_only=True, gc=False, tag_field="event"):
    """What every event of a channel has."""

    #: The silence: the same number at both ends.
    silence: Annotated[int, Meta(ge=1)]
    platform: _Name
    shop: _Name
    #: When it was noticed, ms.
    at_ms: int
    #: The last order before the silence, ms.
    last_order_ms: int


class ChannelSilent(ChannelEvent, frozen=True, kw_only=True, gc=False, tag="channel.silent"):
    """A channel says nothing, although orders were to be expected."""

    #: So many, since the last one.
    expected_orders: int


class ChannelTalking(ChannelEvent, frozen=True, kw_only=True, gc=False, tag="channel.talking"):
    """The silence is over."""

    by: TalksAgain
    #: When it was noticed that it began, ms.
    began_ms: int
