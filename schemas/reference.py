"""
Reference data: what people decide about shops and SKUs, published key by key on `reference`.

Intake reads it whole before it starts and stamps it into commands, so that no decision reads it.
"""

from msgspec import Struct

from schemas.base import Units


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


class SkuMapping(Struct, frozen=True, kw_only=True, tag="sku"):
    """A platform's or merchant's SKU in one shop, and ours."""

    platform: str
    shop: str
    #: The merchant SKU where there is one, else the platform's.
    theirs: str
    ours: str


Reference = Shop | SkuMapping
