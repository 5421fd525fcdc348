"""docs/channel-stock.md says of each platform what its client does."""

from pathlib import Path

import pytest

from streams.clients import CLIENTS

PAGE = (Path(__file__).parents[2] / "docs" / "channel-stock.md").read_text(encoding="utf-8")


def row_of(platform: str) -> list[str]:
    (line,) = [each for each in PAGE.splitlines() if each.startswith(f"| `{platform}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("platform", CLIENTS)
def test_the_page_says_what_a_platform_asks_for(platform: str) -> None:
    _, called, item, sku, place, source = row_of(platform)
    stocks = CLIENTS[platform].stocks

    assert source
    if isinstance(stocks, str):
        assert called == "not told"
        return
    if platform == "tmall":
        assert called == "the same"
        return
    assert (item != "–") is stocks.needs_item
    assert ("or empty" in sku) is stocks.whole_items
    assert (place != "–") is bool(stocks.place)
    assert ("of several" in place) is (bool(stocks.place) and not stocks.needs_place)
