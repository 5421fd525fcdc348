"""
Region levels from an address in one line: what can be told from its words, and nothing else.

Behind an interface, so that an installation may ask a library instead. Promises: the address stays
as it came; a level that the platform said is never overwritten; where the words contradict what was
said, nothing is taken from them; a mask ends what can be read.
"""

import re
from typing import Final, NamedTuple, Protocol

from msgspec import structs

from schemas.orders import Receiver


class Levels(NamedTuple):
    """What an address says of the region, from the widest to the narrowest."""

    province: str | None = None
    city: str | None = None
    district: str | None = None
    town: str | None = None


class AddressHint(Protocol):
    """Reads region levels from an address; a pure function, here or of a library."""

    def __call__(self, address: str) -> Levels:
        """Return the levels that *address* names; none where it cannot be told."""


_PROVINCES: Final = (
    "河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州"
    "|云南|陕西|甘肃|青海|台湾"
)
_REGIONS: Final = "内蒙古自治区|广西壮族自治区|西藏自治区|宁夏回族自治区|新疆维吾尔自治区"
_MUNICIPALITIES: Final = "北京市|上海市|天津市|重庆市"
_SPECIAL: Final = "香港特别行政区|澳门特别行政区"
_HAN: Final = "[\u4e00-\u9fff]"
_ADDRESS: Final = re.compile(
    rf"(?:中国)?\s*(?P<province>(?:{_PROVINCES})省|{_REGIONS}|{_MUNICIPALITIES}|{_SPECIAL})?\s*"
    rf"(?P<city>{_HAN}{{2,8}}?(?:自治州|地区|盟|市))?\s*"
    rf"(?P<district>{_HAN}{{1,8}}?(?:区|县|旗|市(?!区|场|政)))?\s*"
    rf"(?P<town>{_HAN}{{1,8}}?(?:街道|镇|乡|苏木))?"
)
_WITHOUT_CITY: Final = re.compile(rf"{_MUNICIPALITIES}|{_SPECIAL}")
_MASK: Final = re.compile(r"[*＊#]")


def chinese(address: str) -> Levels:
    """Return the levels of a mainland address that begins with them, 浙江省杭州市西湖区… ."""
    clear = _MASK.split(address.strip(), maxsplit=1)[0]
    found = _ADDRESS.match(clear)
    if found is None or not (found["province"] or (found["city"] and found["district"])):
        return Levels()
    province, city, district = found["province"], found["city"], found["district"]
    if province and _WITHOUT_CITY.fullmatch(province):
        if city == "市辖区":
            city = None
        if city and city != province:
            return Levels(province, province)
        city = province
    elif city is None:
        return Levels(province)
    return Levels(province, city, district, found["town"] if district else None)


def filled(receiver: Receiver, hint: AddressHint) -> Receiver:
    """Return *receiver* with the levels that its address names and the platform did not say."""
    if not receiver.address or receiver.country not in (None, "CN"):
        return receiver
    if receiver.province and receiver.city and receiver.district:
        return receiver
    levels = hint(receiver.address)
    for name, told in levels._asdict().items():
        said = getattr(receiver, name)
        if said and told and not told.startswith(said) and not said.startswith(told):
            return receiver
    more = {
        name: told
        for name, told in levels._asdict().items()
        if told and not getattr(receiver, name)
    }
    return structs.replace(receiver, **more) if more else receiver
