"""
Adapters: what a platform sent, as bytes, becomes statements in our words. One module a platform.

An adapter declares as data what it knows of its platform (zone, money, the map of its status
words) and has one pure function that reads. It has no clock and no network, adds nothing that the
payload does not say, and never guesses: an unknown word keeps the order and leaves a notice; a
field that cannot be right is named in a MalformedPayload, and the message is parked whole.

A new platform is a package of anyone's with an entry point: docs/add-a-platform.md. Or here: a
module, a line in `_OURS`, and a folder of payloads under tests.

A change of what `parse` returns raises the adapter's version. The version that intake reads with
stands in `ADAPTERS`; another one, kept from before or tried before a switch, stands beside it in
`VERSIONS`, where `orderflow replay` finds it.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol

from agents.intake import IMPORTED
from schemas.errors import Misconfigured, UnknownPlatform
from schemas.orders import Refund, Statement, Status
from streams.adapters.amazon import Amazon
from streams.adapters.douyin import Douyin
from streams.adapters.imported import Imported
from streams.adapters.jd import Jd
from streams.adapters.kuaishou import Kuaishou
from streams.adapters.mall import Mall
from streams.adapters.pdd import Pdd
from streams.adapters.reading import MoneyUnit
from streams.adapters.shopee import Shopee
from streams.adapters.shopify import Shopify
from streams.adapters.taobao import Taobao
from streams.adapters.tiktokshop import TikTokShop
from streams.adapters.woocommerce import WooCommerce
from streams.adapters.xiaohongshu import Xiaohongshu
from streams.topics import ADAPTERS_GROUP

__all__ = ["ADAPTERS", "FILES", "VERSIONS", "Adapter", "MoneyUnit", "adapter_for", "reader_of"]


class Adapter(Protocol):
    """What a platform's module offers to intake and to everyone who explains it."""

    @property
    def platform(self) -> str:
        """The platform's code, the first part of every order key."""

    @property
    def version(self) -> int:
        """Rises with every change of what `parse` returns; stamped as `taobao/1`."""

    @property
    def zone(self) -> str:
        """The zone the platform's times are in; `offset` where each says its own."""

    @property
    def money(self) -> MoneyUnit:
        """How the platform writes money."""

    @property
    def refund_closes(self) -> bool:
        """Does paying an order back whole, before it ships, close it without another word?"""

    @property
    def statuses(self) -> Mapping[str, Status]:
        """Its native status words; a word that is not here is UNKNOWN."""

    @property
    def refunds(self) -> Mapping[str, Refund]:
        """Its native refund words; REFUNDED is settled by amount where a part is possible."""

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """
        Return what *payload* says about orders of *shop*; a probe or an empty page says nothing.

        Raises MalformedPayload with the field's path, or UndecodableMessage.
        """

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id, read cheaply from the raw bytes; None: no single order there."""


_OURS: Final[dict[str, Adapter]] = {
    "taobao": Taobao("taobao"),
    "tmall": Taobao("tmall"),
    "douyin": Douyin(),
    "shopify": Shopify(),
    "jd": Jd(),
    "pdd": Pdd(),
    "kuaishou": Kuaishou(),
    "xiaohongshu": Xiaohongshu(),
    "amazon": Amazon(),
    "woocommerce": WooCommerce(),
    "tiktokshop": TikTokShop(),
    "shopee": Shopee(),
    "mall": Mall(),
}


#: What an adapter has to have; asked when an installed one is loaded, not at its first message.
_HAS: Final = (
    "platform", "version", "zone", "money", "refund_closes", "statuses", "refunds", "parse",
    "key_of",
)  # fmt: skip


def _load(entry: EntryPoint) -> Adapter:
    """Return the adapter of an installed package; raises Misconfigured naming the package."""
    package = entry.dist.name if entry.dist else entry.value
    platform, _, version = entry.name.partition("@")
    try:
        found = entry.load()
        adapter: Adapter = found() if isinstance(found, type) else found
    except Exception as error:
        raise Misconfigured(
            f"The adapter {entry.name!r} of the package {package} cannot be loaded "
            f"({type(error).__name__}: {error}); repair or uninstall the package."
        ) from error
    if missing := [name for name in _HAS if not hasattr(adapter, name)]:
        raise Misconfigured(
            f"The adapter {entry.name!r} of the package {package} has no {', '.join(missing)}; "
            "see docs/add-a-platform.md."
        )
    if adapter.platform != platform or (version and str(adapter.version) != version):
        raise Misconfigured(
            f"The package {package} offers {entry.name!r}, and its adapter says it is "
            f"{adapter.platform}/{adapter.version}; let both say the same."
        )
    return adapter


def _all() -> tuple[dict[str, Adapter], dict[str, dict[int, Adapter]]]:
    """Return what intake reads with, and every version that is there. Ours cannot be replaced."""
    present = dict(_OURS)
    others: list[Adapter] = []
    for entry in entry_points(group=ADAPTERS_GROUP):
        if "@" in entry.name:
            others.append(_load(entry))
        elif entry.name in present:
            raise Misconfigured(
                f"A package offers the platform {entry.name!r}, which is there already; to try "
                f'another version of it, call it "{entry.name}@2".'
            )
        else:
            present[entry.name] = _load(entry)
    versions = {name: {adapter.version: adapter} for name, adapter in present.items()}
    for adapter in others:
        versions.setdefault(adapter.platform, {}).setdefault(adapter.version, adapter)
    return present, versions


ADAPTERS, VERSIONS = _all()
#: What reads the orders that files brought, by platform; they lie on the same topic.
FILES: Final[dict[str, Imported]] = {platform: Imported(platform) for platform in ADAPTERS}


def reader_of(adapter: Adapter, payload: bytes) -> Adapter:
    """Return what reads *payload* on the topic of *adapter*: itself, or what reads a file's."""
    return FILES[adapter.platform] if payload.startswith(IMPORTED) else adapter


def adapter_for(platform: str) -> Adapter:
    """Return the adapter of *platform*, or raise UnknownPlatform with one sentence."""
    adapter = ADAPTERS.get(platform)
    if adapter is None:
        readable = ", ".join(sorted(ADAPTERS))
        raise UnknownPlatform(f"no adapter reads {platform!r}; there are adapters for {readable}")
    return adapter
