"""Figures without a stack: whose day it is, and which days a line is of."""

from datetime import date
from pathlib import Path

import pytest
from msgspec import json

from agents.reference import Directory, reference_key
from schemas.errors import Misconfigured
from schemas.reference import Shop
from streams.figures.asking import STAGES, Flow, Line, _flow, last_day
from streams.figures.clocks import Clock, check_zone, clocks_of
from streams.reference import UnreadableReference, read_file

FAR = Shop(platform="shopify", shop="far", zone="Pacific/Kiritimati", day_begins_min=360)
SHOPS = (FAR, Shop(platform="shopify", shop="*"), Shop(platform="taobao", shop="*"))


@pytest.mark.parametrize(
    ("platform", "shop", "clock"),
    [
        # the shop says it
        ("shopify", "far", Clock("Pacific/Kiritimati", 360)),
        # the platform closes its days in one place for everybody
        ("taobao", "lamps", Clock("Asia/Shanghai")),
        ("douyin", "nobody-knows-it", Clock("Asia/Shanghai")),
        # nobody says it: the company's
        ("shopify", "near", Clock("Europe/Berlin")),
        ("mall", "main", Clock("Europe/Berlin")),
    ],
)
def test_a_shop_has_its_own_day_else_its_platforms_else_the_companys(
    platform: str, shop: str, clock: Clock
) -> None:
    directory = Directory()
    for each in SHOPS:
        directory.put(reference_key(each), json.encode(each))

    assert clocks_of(directory, "Europe/Berlin")(platform, shop) == clock


def test_a_shop_says_its_zone_and_when_its_day_begins(tmp_path: Path) -> None:
    file = tmp_path / "reference.toml"
    file.write_text(
        '[[shops]]\nplatform = "shopify"\nshop = "far"\nzone = "Pacific/Kiritimati"\n'
        "day_begins = 06:00:00\n"
    )

    assert read_file(file) == [FAR]


@pytest.mark.parametrize("zone", ["Moon/Base", "GMT+8:00", "+08:00"])
def test_a_zone_that_is_none_is_refused_by_name(tmp_path: Path, zone: str) -> None:
    file = tmp_path / "reference.toml"
    file.write_text(f'[[shops]]\nplatform = "shopify"\nshop = "far"\nzone = "{zone}"\n')

    with pytest.raises(UnreadableReference, match=r"far.*Asia/Shanghai"):
        read_file(file)
    with pytest.raises(Misconfigured, match="ORDERFLOW_COMPANY_ZONE"):
        check_zone(zone, "ORDERFLOW_COMPANY_ZONE")


@pytest.mark.parametrize(
    ("unit", "day", "last"),
    [
        ("hour", date(2026, 2, 28), date(2026, 2, 28)),
        ("day", date(2026, 2, 28), date(2026, 2, 28)),
        ("week", date(2026, 12, 28), date(2027, 1, 3)),
        ("month", date(2028, 2, 1), date(2028, 2, 29)),
        ("month", date(2026, 12, 1), date(2026, 12, 31)),
    ],
)
def test_a_line_is_of_all_the_days_of_its_unit(unit: str, day: date, last: date) -> None:
    assert last_day(Line("CNY", 1, 1, 1, 0, 0, 0, 0, day=day), unit) == last


def test_half_and_most_of_the_orders_took_so_long_at_most() -> None:
    assert _flow("raw", [(0, 50), (3, 44), (5, 6)]) == Flow("raw", 100, 10, 500)
    assert _flow("raw", [(0, 49), (17, 51)]) == Flow("raw", 100, None, None)
    assert _flow("raw", []) == Flow("raw", 0, None, None)
    assert STAGES[-1] == "whole"
