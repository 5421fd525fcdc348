"""
Reference data: what people decide about shops, SKUs and kits, published key by key on `reference`.

Intake reads it whole before it starts and stamps it into commands, so that no decision reads it.
"""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.base import Sku, Units

#: A kit has at most so many parts, and takes at most so many of each.
KIT_PARTS_MAX = 50
KIT_UNITS_MAX = 1_000


class HoldRule(Struct, frozen=True, kw_only=True):
    """How long an unpaid order of one payment method may keep its stock."""

    hold_for_ms: Units


class Shop(Struct, frozen=True, kw_only=True, tag="shop"):
    """One shop on one platform and how its orders are held."""

    platform: str
    shop: str
    name: str = ""
    hold_for_ms: Units = 15 * 60 * 1000
    #: By payment method, where it differs.
    holds: dict[str, HoldRule] = {}
    partial: bool = False
    #: Orders created before this and first seen shipped or closed are adopted without stock moves.
    go_live_ms: int = 0
    #: `identity`: the merchant SKU is our SKU. `listed`: only what the mapping lists is known.
    sku_mapping: str = "identity"
    #: Units of every SKU that this shop is not told of, against what it has sold and not yet said.
    safety_buffer: Units = 0
    #: Where its channel is told what it may sell; empty: it is not told.
    stock_url: str = ""
    #: The quota this shop's holds take from first, while its window is open; empty: the pool alone.
    quota: str = ""
    #: Where its goods leave from. With several, a SKU's stock is kept as SKU@WAREHOUSE.
    warehouses: tuple[str, ...] = ()
    #: The rule that chooses one before the hold: `first`, or `province` of the receiver.
    warehouse_by: str = "first"
    #: Province, or how its name begins -> warehouse; any other province: the first warehouse.
    provinces: dict[str, str] = {}
    #: Whose days its figures are of, such as America/Los_Angeles; empty: its platform's, else the
    #: company's.
    zone: str = ""
    #: Minutes after midnight there at which the platform begins another day.
    day_begins_min: Annotated[int, Meta(ge=0, lt=1440)] = 0


class KitPart(Struct, frozen=True, kw_only=True):
    """What one unit of a kit takes of one SKU."""

    sku: Sku
    quantity: Annotated[int, Meta(gt=0, le=KIT_UNITS_MAX)]


class Kit(Struct, frozen=True, kw_only=True, tag="kit"):
    """A SKU of ours that stands on no shelf: selling it takes its parts."""

    sku: Sku
    parts: Annotated[tuple[KitPart, ...], Meta(min_length=1, max_length=KIT_PARTS_MAX)]


class Spell(Struct, frozen=True, kw_only=True):
    """A time for which a mapping holds; an end that is left out is open."""

    ours: str
    from_ms: int | None = None
    until_ms: int | None = None


class SkuMapping(Struct, frozen=True, kw_only=True, tag="sku"):
    """A platform's or merchant's SKU in one shop, and ours."""

    platform: str
    shop: str
    #: The merchant SKU where there is one, else the platform's.
    theirs: str
    ours: str
    #: When it holds, oldest first and none across another; empty: `ours`, always.
    spells: tuple[Spell, ...] = ()


class Pause(Struct, frozen=True, kw_only=True, tag="pause"):
    """A shop whose messages are set aside: until it is resumed, and from then on read in order."""

    id: int
    platform: str
    shop: str
    #: Where each partition of `raw-held` ended when the pause began.
    starts: tuple[int, ...]
    #: What was set aside is being read; what comes meanwhile goes behind it.
    resuming: bool = False


class Gray(Struct, frozen=True, kw_only=True, tag="gray"):
    """Some of a platform's shops are read by another version of its adapter, for a trial."""

    platform: str
    version: int
    #: So many of a thousand shops, by the hash of their name: a larger share keeps the smaller's.
    permille: Annotated[int, Meta(ge=1, le=1000)]
    since_ms: int
    by: str
    why: str


class GrayEnded(Struct, frozen=True, kw_only=True, tag="gray-ended"):
    """A trial that is over, kept beside the present one: who tried what, who ended it, and why."""

    trial: Gray
    at_ms: int
    by: str
    why: str


#: What people write in a reference file; a pause and a trial come and go by a command.
Written = Shop | SkuMapping | Kit
Reference = Written | Pause | Gray | GrayEnded
