"""
Carriers: our word for each, and what each platform calls it.

A code that is wrong sends the buyer to somebody else's parcel. So only what is publicly known is
sent; what we believe and could not confirm is written down here and refused, with the code in the
sentence, until a shop says its own in `[shops.api.carriers]`, which always wins.

Where the codes are from: JD, Pinduoduo, Douyin and Taobao by several sellers' published tables that
agree, and the platforms' own sample orders (JD 2087, Pinduoduo 85, Xiaohongshu shunfeng); Shopify
and Amazon by their documentation.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Code(NamedTuple):
    """What a platform calls a carrier."""

    said: str
    confirmed: bool = True


#: Our word -> the carrier's own name, which platforms that take any name are told.
CARRIERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "SF": "SF Express",
        "ZTO": "ZTO Express",
        "YTO": "YTO Express",
        "STO": "STO Express",
        "YD": "Yunda Express",
        "EMS": "EMS",
        "POST": "China Post",
        "JD": "JD Logistics",
        "JT": "J&T Express",
        "DBL": "Deppon",
        "UPS": "UPS",
        "FEDEX": "FedEx",
        "USPS": "USPS",
        "DHL": "DHL Express",
        "YUNEXPRESS": "YunExpress",
        "4PX": "4PX",
        "ROYALMAIL": "Royal Mail",
    }
)

_TAOBAO: Final = {
    "SF": Code("SF"), "ZTO": Code("ZTO"), "YTO": Code("YTO"), "STO": Code("STO"),
    "YD": Code("YUNDA"), "EMS": Code("EMS"), "POST": Code("POSTB"),
    "DBL": Code("DBKD", confirmed=False),
}  # fmt: skip
#: Platform -> carrier -> code.
CODES: Final[Mapping[str, Mapping[str, Code]]] = MappingProxyType(
    {
        "taobao": _TAOBAO,
        "tmall": _TAOBAO,
        "jd": {
            "SF": Code("467"), "ZTO": Code("1499"), "YTO": Code("463"), "STO": Code("470"),
            "YD": Code("1327"), "EMS": Code("465"), "POST": Code("2170"), "JD": Code("2087"),
            "DBL": Code("3046", confirmed=False),
        },
        "pdd": {
            "SF": Code("44"), "ZTO": Code("115"), "YTO": Code("85"), "STO": Code("1"),
            "YD": Code("121"), "EMS": Code("118"), "POST": Code("132"),
            "JT": Code("384", confirmed=False), "JD": Code("120", confirmed=False),
            "DBL": Code("131", confirmed=False),
        },
        "douyin": {
            "SF": Code("shunfeng"), "ZTO": Code("zhongtong"), "YTO": Code("yuantong"),
            "STO": Code("shentong"), "YD": Code("yunda"), "POST": Code("youzhengguonei"),
            "EMS": Code("ems", confirmed=False), "JT": Code("jtexpress", confirmed=False),
            "JD": Code("jd", confirmed=False), "DBL": Code("debangwuliu", confirmed=False),
        },
        "xiaohongshu": {
            "SF": Code("shunfeng"), "ZTO": Code("zhongtong", confirmed=False),
            "YTO": Code("yuantong", confirmed=False), "STO": Code("shentong", confirmed=False),
            "YD": Code("yunda", confirmed=False), "JD": Code("jd", confirmed=False),
            "JT": Code("jtexpress", confirmed=False), "EMS": Code("ems", confirmed=False),
            "POST": Code("youzhengguonei", confirmed=False),
        },
        # Numbers of its own, which are published to sellers alone.
        "kuaishou": {},
        # Ids that differ by market and delivery option.
        "tiktokshop": {},
        "amazon": {
            "UPS": Code("UPS"), "FEDEX": Code("FedEx"), "USPS": Code("USPS"), "DHL": Code("DHL"),
            "ROYALMAIL": Code("Royal Mail"),
        },
    }
)  # fmt: skip
#: These take the carrier's name, whatever it is.
BY_NAME: Final = frozenset({"shopify", "woocommerce"})
#: These know the carrier by the order.
WITHOUT: Final = frozenset({"shopee"})
#: These take a name beside a code that says "another".
OTHER: Final[Mapping[str, str]] = MappingProxyType({"amazon": "Others"})


class Known(NamedTuple):
    """How a platform is told of a carrier."""

    code: str
    #: Beside the code, where it says "another".
    name: str = ""


class NotKnown(NamedTuple):
    """No code of this carrier may be sent; a sentence for whoever has to settle it."""

    why: str


def known_as(platform: str, carrier: str, own: Mapping[str, str]) -> Known | NotKnown:
    """Return what *platform* calls *carrier*, by the shop's *own* table first."""
    name = CARRIERS.get(carrier, "")
    if carrier in own:
        return Known(own[carrier], name or carrier)
    if platform in WITHOUT:
        return Known("")
    code = CODES.get(platform, {}).get(carrier)
    if code is not None and code.confirmed:
        return Known(code.said, name)
    if name and platform in BY_NAME:
        return Known(name, name)
    if name and platform in OTHER:
        return Known(OTHER[platform], name)
    where = f"put {platform}'s code for it into [shops.api.carriers], and retry"
    if code is not None:
        return NotKnown(
            f"{platform} may call {carrier} {code.said!r}, which nobody has confirmed; {where}"
        )
    return NotKnown(f"nobody here knows what {platform} calls the carrier {carrier}; {where}")
