"""
Markets as data: what a shop of a market is when nobody said otherwise.

One template each: zone, language, currency, whose tax, and in which encodings its files come, the
likeliest first. A template is a start for a shop's own settings and for the import of files; it
never overrules what a message says, and where a country has several zones it names none to guess
by: `zones` then has all of them, and a person chooses.
"""

from typing import Final, NamedTuple


class Market(NamedTuple):
    """What is usual there."""

    name: str
    #: One: the zone of all its shops. Several: choose.
    zones: tuple[str, ...]
    #: As a browser says it.
    language: str
    #: ISO 4217.
    currency: str
    #: Whose tax rates count (`orderflow taxes show`), ISO 3166.
    tax_country: str
    #: Python's names; UTF-8 with or without a mark is tried first.
    encodings: tuple[str, ...]
    #: Are its prices with tax, as a consumer sees them?
    prices_with_tax: bool = True

    @property
    def zone(self) -> str | None:
        """The zone of all its shops, if it has one."""
        return self.zones[0] if len(self.zones) == 1 else None


_UTF8: Final = "utf-8-sig"
_WEST: Final = (_UTF8, "cp1252")
_US: Final = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix",
    "America/Los_Angeles", "America/Anchorage", "Pacific/Honolulu",
)  # fmt: skip

#: Code -> market.
MARKETS: Final[dict[str, Market]] = {
    "cn": Market("中国大陆", ("Asia/Shanghai",), "zh-CN", "CNY", "CN", (_UTF8, "gb18030")),
    "hk": Market("香港", ("Asia/Hong_Kong",), "zh-HK", "HKD", "HK", (_UTF8, "big5hkscs")),
    "tw": Market("台湾", ("Asia/Taipei",), "zh-TW", "TWD", "TW", (_UTF8, "cp950")),
    "jp": Market("日本", ("Asia/Tokyo",), "ja-JP", "JPY", "JP", (_UTF8, "cp932")),
    "kr": Market("한국", ("Asia/Seoul",), "ko-KR", "KRW", "KR", (_UTF8, "cp949")),
    "us": Market("United States", _US, "en-US", "USD", "US", _WEST, prices_with_tax=False),
    "gb": Market("United Kingdom", ("Europe/London",), "en-GB", "GBP", "GB", _WEST),
    "de": Market("Deutschland", ("Europe/Berlin",), "de-DE", "EUR", "DE", _WEST),
    "fr": Market("France", ("Europe/Paris",), "fr-FR", "EUR", "FR", _WEST),
    "it": Market("Italia", ("Europe/Rome",), "it-IT", "EUR", "IT", _WEST),
    "es": Market(
        "España", ("Europe/Madrid", "Atlantic/Canary"), "es-ES", "EUR", "ES", _WEST
    ),
    "pl": Market("Polska", ("Europe/Warsaw",), "pl-PL", "PLN", "PL", (_UTF8, "cp1250")),
    "sg": Market("Singapore", ("Asia/Singapore",), "en-SG", "SGD", "SG", _WEST),
    "my": Market("Malaysia", ("Asia/Kuala_Lumpur",), "ms-MY", "MYR", "MY", _WEST),
    "th": Market("ไทย", ("Asia/Bangkok",), "th-TH", "THB", "TH", (_UTF8, "cp874")),
    "vn": Market("Việt Nam", ("Asia/Ho_Chi_Minh",), "vi-VN", "VND", "VN", (_UTF8, "cp1258")),
    "ph": Market("Philippines", ("Asia/Manila",), "en-PH", "PHP", "PH", _WEST),
    "id": Market(
        "Indonesia", ("Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura"), "id-ID", "IDR", "ID",
        _WEST,
    ),
}  # fmt: skip


def text_of(payload: bytes, market: Market) -> tuple[str, str] | None:
    """Return *payload* as text and the encoding that fits, the market's likeliest first."""
    for encoding in market.encodings:
        try:
            return payload.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return None
