"""
The platforms' sample payloads, as they are, and what has to be there for them.

Lines without a merchant SKU get a mapping, so that the whole way is shown; thin notifications and
probes are fed as well, and say so. Taobao's samples are fed a second time as Tmall's, which speaks
the same words.
"""

from pathlib import Path

from schemas.errors import Rejected
from schemas.orders import Line, Statement
from schemas.reference import Shop, SkuMapping, Written
from streams.adapters import ADAPTERS
from streams.feed import trade

FOLDER = Path(__file__).parent / "payloads"
SHOP = "samples"
#: Platform -> the folder of its samples.
PLATFORMS = {"taobao": "taobao", "tmall": "taobao", "douyin": "douyin", "shopify": "shopify"}
#: Enough of each SKU for all samples.
UNITS = 1_000


def files() -> list[tuple[str, Path]]:
    """Return every sample with its platform."""
    return [
        (platform, file)
        for platform, folder in PLATFORMS.items()
        for file in sorted((FOLDER / folder).glob("*.json"))
    ]


def reference(hold_for_ms: int) -> list[Written]:
    """Return the shops of the demo and the mappings its samples need."""
    shops: list[Written] = [
        Shop(platform=platform, shop=shop, name=shop, hold_for_ms=hold_for_ms)
        for platform in PLATFORMS
        for shop in (SHOP, trade.SHOP)
    ]
    mappings = {
        (platform, line.platform_sku): SkuMapping(
            platform=platform,
            shop=SHOP,
            theirs=line.platform_sku,
            ours=f"SAMPLE-{line.platform_sku}",
        )
        for platform, line in _lines()
        if not line.merchant_sku and line.platform_sku
    }
    return [*shops, *mappings.values()]


def stock() -> dict[str, int]:
    """Return what has to be received for the samples."""
    return {
        line.merchant_sku or f"SAMPLE-{line.platform_sku}": UNITS
        for _, line in _lines()
        if line.merchant_sku or line.platform_sku
    }


def orders() -> set[str]:
    """Return the keys of the orders that the samples are about."""
    return {said.key for platform, file in files() for said in _said(platform, file)}


def unmappable() -> int:
    """Return how many sample orders have a line without any SKU: their reservation waits."""
    return len(
        {
            said.key
            for platform, file in files()
            for said in _said(platform, file)
            if any(not line.merchant_sku and not line.platform_sku for line in said.lines)
        }
    )


def _lines() -> list[tuple[str, Line]]:
    return [
        (platform, line)
        for platform, file in files()
        for said in _said(platform, file)
        for line in said.lines
    ]


def _said(platform: str, file: Path) -> list[Statement]:
    try:
        return ADAPTERS[platform].parse(file.read_bytes(), SHOP)
    except Rejected:
        # Not every sample is about an order; what is not is parked, which is shown too.
        return []
