"""Market templates: every zone, currency and encoding exists, and nothing is guessed."""

import codecs
import re
from zoneinfo import ZoneInfo

import pytest

from streams.adapters.currencies import DIGITS
from streams.markets import MARKETS, Market, text_of


@pytest.mark.parametrize("market", MARKETS.values(), ids=list(MARKETS))
def test_what_a_template_names_exists(market: Market):
    for zone in market.zones:
        assert ZoneInfo(zone)
    assert market.currency in DIGITS
    assert re.fullmatch(r"[a-z]{2}-[A-Z]{2}", market.language)
    assert re.fullmatch(r"[A-Z]{2}", market.tax_country)
    assert market.encodings[0] == "utf-8-sig"
    for encoding in market.encodings:
        assert codecs.lookup(encoding)


def test_a_market_of_several_zones_names_none_to_guess_by():
    assert MARKETS["us"].zone is None
    assert MARKETS["cn"].zone == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("market", "text", "encoding"),
    [
        ("cn", "款式一，青柚", "gb18030"),
        ("jp", "バスケット", "cp932"),
        ("kr", "바구니", "cp949"),
        ("de", "Körbchen", "cp1252"),
        ("th", "ตะกร้า", "cp874"),
    ],
)
def test_a_file_as_it_is_saved_there_is_read_and_utf8_comes_first(
    market: str, text: str, encoding: str
):
    assert text_of(text.encode(encoding), MARKETS[market]) == (text, encoding)
    assert text_of(text.encode(), MARKETS[market]) == (text, "utf-8-sig")
    assert text_of(b"\xef\xbb\xbf" + text.encode(), MARKETS[market]) == (text, "utf-8-sig")


def test_bytes_that_no_encoding_of_the_market_knows_are_no_text():
    assert text_of(b"\x81", MARKETS["jp"]) is None
