"""
Adapters: what a platform sent, as bytes, becomes statements in our words. One module a platform.

An adapter declares as data what it knows of its platform (zone, money, the map of its status
words) and has one pure function that reads. It has no clock and no network, adds nothing that the
payload does not say, and never guesses: an unknown word keeps the order and leaves a notice; a
field that cannot be right is named in a MalformedPayload, and the message is parked whole.

A new platform is a module, a line in `ADAPTERS`, and a folder of payloads under tests.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from schemas.errors import UnknownPlatform
from schemas.orders import Refund, Statement, Status
from streams.adapters.amazon import Amazon
from streams.adapters.douyin import Douyin
from streams.adapters.jd import Jd
from streams.adapters.kuaishou import Kuaishou
from streams.adapters.pdd import Pdd
from streams.adapters.reading import MoneyUnit
from streams.adapters.shopee import Shopee
from streams.adapters.shopify import Shopify
from streams.adapters.taobao import Taobao
from streams.adapters.tiktokshop import TikTokShop
from streams.adapters.woocommerce import WooCommerce
from streams.adapters.xiaohongshu import Xiaohongshu

__all__ = ["ADAPTERS", "Adapter", "MoneyUnit", "adapter_for"]


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


ADAPTERS: Final[dict[str, Adapter]] = {
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
}


def adapter_for(platform: str) -> Adapter:
    """Return the adapter of *platform*, or raise UnknownPlatform with one sentence."""
    adapter = ADAPTERS.get(platform)
    if adapter is None:
        readable = ", ".join(sorted(ADAPTERS))
        raise UnknownPlatform(f"no adapter reads {platform!r}; there are adapters for {readable}")
    return adapter
