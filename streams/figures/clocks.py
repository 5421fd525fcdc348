"""
Whose day it is: the zone of each shop, and when its platform begins another day there.

Shops say it in the reference data. A shop that does not has its platform's zone where that platform
closes its days in one place for everybody, and else the company's.
"""

from collections.abc import Callable
from typing import Final, NamedTuple
from zoneinfo import available_timezones

from agents.reference import Directory
from schemas.errors import Misconfigured

_BEIJING: Final = "Asia/Shanghai"
#: Platforms whose own figures are of one zone, wherever the shop is.
_OF_PLATFORM: Final[dict[str, str]] = dict.fromkeys(
    ("taobao", "tmall", "jd", "pdd", "douyin", "kuaishou", "xiaohongshu"), _BEIJING
)


class Clock(NamedTuple):
    """A zone, and minutes after midnight there at which another day begins."""

    zone: str
    day_begins: int = 0


#: (platform, shop) -> its clock.
Clocks = Callable[[str, str], Clock]


def clocks_of(directory: Directory, company_zone: str) -> Clocks:
    """Return how the shops of *directory* count their days."""

    def clock(platform: str, shop: str) -> Clock:
        usual = _OF_PLATFORM.get(platform, company_zone)
        known = directory.shop(platform, shop)
        if known is None:
            return Clock(usual)
        return Clock(known.zone or usual, known.day_begins_min)

    return clock


def check_zone(name: str, setting: str) -> None:
    """Raise Misconfigured where *setting* names no zone."""
    if name not in available_timezones():
        raise Misconfigured(
            f"{setting}: {name!r} is no time zone; write one such as Asia/Shanghai."
        )
