"""Reference data on the real broker: whoever starts has read all of it before its first record."""

import pytest

from schemas.reference import Shop, SkuMapping
from streams.engine.admin import apply
from streams.reference import directory_of
from streams.settings import Settings
from streams.topics import REFERENCE
from tests.builders import T0, a_line
from tests.integration import shop
from tests.integration.selling import refer

pytestmark = pytest.mark.stack

#: More than one poll brings.
MANY = 3_000
LAMPS = Shop(platform="taobao", shop="lamps", sku_mapping="listed")


def mapping(number: int, ours: str) -> SkuMapping:
    return SkuMapping(platform="taobao", shop="lamps", theirs=f"T-{number}", ours=ours)


async def test_t54_what_was_published_is_known_before_anything_is_decided(settings: Settings):
    """A miss is a SKU that nobody mapped, never one that was not read yet."""
    await apply(settings, [REFERENCE])
    await refer(settings, LAMPS, *(mapping(n, f"RUG-{n}") for n in range(MANY)))

    directory, follower = await directory_of(settings)
    try:
        found = [directory.sku(LAMPS, "lamps", a_line(f"T-{n}"), T0, T0) for n in range(MANY)]
        await refer(settings, mapping(MANY, "LAST"))
        await shop.until(
            lambda: directory.sku(LAMPS, "lamps", a_line(f"T-{MANY}"), T0, T0) == "LAST"
        )
    finally:
        await follower.stop()

    assert found == [f"RUG-{n}" for n in range(MANY)]
