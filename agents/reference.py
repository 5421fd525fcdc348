"""
The directory of shops and SKUs that intake stamps into commands.

Filled from the `reference` topic, key by key; the last word under a key wins, a tombstone removes.
"""

from msgspec import json

from schemas.orders import Line, Policy
from schemas.reference import Reference, Shop, SkuMapping

#: A shop entry under this name stands for every shop of its platform that has none of its own.
ANY_SHOP = "*"

_decode = json.Decoder(Reference).decode


def reference_key(entry: Reference) -> bytes:
    """Return the key under which *entry* is published: kind and id."""
    match entry:
        case Shop():
            return f"shop/{entry.platform}/{entry.shop}".encode()
        case SkuMapping():
            return f"sku/{entry.platform}/{entry.shop}/{entry.theirs}".encode()


class Directory:
    """What is known of shops and SKUs."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Reference] = {}

    def put(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the `reference` topic; raises msgspec.DecodeError on foreign bytes."""
        if value is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = _decode(value)

    def shop(self, platform: str, shop: str) -> Shop | None:
        """Return the shop, or its platform's entry for any shop."""
        for name in (shop, ANY_SHOP):
            entry = self._entries.get(f"shop/{platform}/{name}".encode())
            if isinstance(entry, Shop):
                return entry
        return None

    def sku(self, known: Shop, shop: str, line: Line) -> str | None:
        """Return our SKU of *line*, or None where nobody has mapped it. Never by an empty code."""
        for theirs in (line.merchant_sku, line.platform_sku):
            if theirs:
                entry = self._entries.get(f"sku/{known.platform}/{shop}/{theirs}".encode())
                if isinstance(entry, SkuMapping):
                    return entry.ours
        if known.sku_mapping == "identity":
            return line.merchant_sku or None
        return None


def policy_of(shop: Shop, payment_method: str | None) -> Policy:
    """Return how *shop* wants an order paid by *payment_method* held."""
    rule = shop.holds.get(payment_method or "")
    return Policy(
        hold_for_ms=rule.hold_for_ms if rule else shop.hold_for_ms,
        partial=shop.partial,
        go_live_ms=shop.go_live_ms,
    )
