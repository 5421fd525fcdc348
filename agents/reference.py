"""
The directory of shops, SKUs and kits that intake stamps into commands.

Filled from the `reference` topic, key by key; the last word under a key wins, a tombstone removes.
"""

from hashlib import sha256
from unicodedata import normalize

from msgspec import json

from schemas.orders import Component, Line, Policy
from schemas.reference import Gray, GrayEnded, Kit, Pause, Reference, Shop, SkuMapping

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
        case Kit():
            return f"kit/{entry.sku}".encode()
        case Pause():
            return f"pause/{entry.platform}/{entry.shop}".encode()
        case Gray():
            return f"gray/{entry.platform}".encode()
        case GrayEnded():
            return f"gray/{entry.trial.platform}/{entry.trial.since_ms}".encode()


def is_of(gray: Gray, shop: str) -> bool:
    """Say whether *shop* is one of those that the trial takes: the same ones everywhere."""
    name = f"{gray.platform}/{shop}".encode()
    return int.from_bytes(sha256(name).digest()[:8]) % 1000 < gray.permille


class Directory:
    """What is known of shops, SKUs and kits."""

    def __init__(self) -> None:
        self._entries: dict[str, Reference] = {}
        #: Kit -> what one of it takes.
        self._parts: dict[str, tuple[Component, ...]] = {}
        #: (platform, shop) -> its pause, where there is one.
        self.pauses: dict[tuple[str, str], Pause] = {}
        #: Platform -> the trial of another version of its adapter, where there is one.
        self.grays: dict[str, Gray] = {}
        #: Worked out when asked for: names of warehouses, and of SKUs as eyes confuse them.
        self._names: tuple[frozenset[str], dict[str, set[str]]] | None = None

    def put(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the `reference` topic; raises msgspec.DecodeError on foreign bytes."""
        name = key.decode("utf-8", "surrogateescape")
        before = self._entries.pop(name, None)
        if isinstance(before, Kit):
            del self._parts[before.sku]
        elif isinstance(before, Pause):
            del self.pauses[before.platform, before.shop]
        elif isinstance(before, Gray):
            del self.grays[before.platform]
        self._names = None
        if value is None:
            return
        entry = self._entries[name] = _decode(value)
        if isinstance(entry, Kit):
            self._parts[entry.sku] = tuple(
                Component(part.sku, part.quantity) for part in entry.parts
            )
        elif isinstance(entry, Pause):
            self.pauses[entry.platform, entry.shop] = entry
        elif isinstance(entry, Gray):
            self.grays[entry.platform] = entry

    def parts(self, sku: str | None) -> tuple[Component, ...]:
        """Return what one of *sku* takes from the shelves, if it is a kit; else nothing."""
        return self._parts.get(sku, ()) if sku is not None else ()

    def is_warehouse(self, name: str) -> bool:
        """Say whether any shop's goods leave from a warehouse of this name."""
        return name in self._known()[0]

    @property
    def has_warehouses(self) -> bool:
        """Say whether stock is kept by warehouse at all."""
        return bool(self._known()[0])

    def twin(self, sku: str) -> str | None:
        """Return the SKU we know by a name that only differs from *sku* in case or width."""
        known = self._known()[1].get(_folded(sku), set())
        return min(known) if known and sku not in known else None

    def _known(self) -> tuple[frozenset[str], dict[str, set[str]]]:
        if self._names is None:
            entries = self._entries.values()
            shops = [entry for entry in entries if isinstance(entry, Shop)]
            mapped = [entry for entry in entries if isinstance(entry, SkuMapping)]
            skus = [entry.ours for entry in mapped]
            skus += [spell.ours for entry in mapped for spell in entry.spells]
            skus += [part.sku for parts in self._parts.values() for part in parts]
            spelt: dict[str, set[str]] = {}
            for sku in skus:
                spelt.setdefault(_folded(sku), set()).add(sku)
            self._names = frozenset(name for shop in shops for name in shop.warehouses), spelt
        return self._names

    def shop(self, platform: str, shop: str) -> Shop | None:
        """Return the shop, or its platform's entry for any shop."""
        for name in (shop, ANY_SHOP):
            entry = self._entries.get(f"shop/{platform}/{name}")
            if isinstance(entry, Shop):
                return entry
        return None

    def sku(self, known: Shop, shop: str, line: Line, ordered_ms: int, now_ms: int) -> str | None:
        """
        Return our SKU of *line*, or None where nobody has mapped it. Never by an empty code.

        What counts is the mapping of the time when it was *ordered*: a number of theirs that now
        stands for another thing does not change what was sold before.
        """
        for theirs in (line.merchant_sku, line.platform_sku):
            if theirs:
                entry = self._entries.get(f"sku/{known.platform}/{shop}/{theirs}")
                if isinstance(entry, SkuMapping):
                    ours = _ours(entry, ordered_ms, now_ms)
                    if ours is not None:
                        return ours
        if known.sku_mapping == "identity":
            return line.merchant_sku or None
        return None


def _ours(entry: SkuMapping, ordered_ms: int, now_ms: int) -> str | None:
    """
    Return the SKU of the spell in which it was ordered, else of the first that began since.

    The second is what an order waits for that came before anybody mapped it; a spell that has not
    begun yet is no answer.
    """
    if not entry.spells:
        return entry.ours
    for spell in entry.spells:
        if spell.until_ms is None or ordered_ms < spell.until_ms:
            begun = spell.from_ms is None or spell.from_ms <= max(ordered_ms, now_ms)
            return spell.ours if begun else None
    return None


def _folded(sku: str) -> str:
    return normalize("NFKC", sku).casefold()


def policy_of(shop: Shop, payment_method: str | None, warehouse: str = "") -> Policy:
    """Return how *shop* wants an order paid by *payment_method* held, and from where."""
    rule = shop.holds.get(payment_method or "")
    return Policy(
        hold_for_ms=rule.hold_for_ms if rule else shop.hold_for_ms,
        partial=shop.partial,
        go_live_ms=shop.go_live_ms,
        quota=shop.quota,
        warehouse=warehouse,
    )
