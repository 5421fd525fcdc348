"""
A gray release of an adapter on the real stack: compared first, then for some shops, and taken back.

The new version is a package beside ours. It reads one thing otherwise, for one shop: a planted
difference, which must be found before anything starts.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.reference import Directory, is_of, reference_key
from schemas.reference import Gray, GrayEnded
from streams.feed import files
from streams.postgres.connecting import connect
from tests.installation import HAPPENS_WITHIN_S, Installation, installation
from tests.integration.databases import ROOT
from tests.integration.shop import until

pytestmark = pytest.mark.stack

SAMPLE = ROOT / "tests" / "adapters" / "payloads" / "taobao"
ADAPTER = '''
"""Taobao's messages with freight said otherwise for shops that ask for it."""

from msgspec import structs

from streams.adapters.taobao import Taobao


class Second(Taobao):
    version = 2

    def parse(self, payload, shop):
        return [
            structs.replace(each, shipping=1 + (each.shipping or 0)) if {planted} else each
            for each in super().parse(payload, shop)
        ]
'''


def site(folder: Path, planted: str) -> Path:
    """A package as pip would lay it there, that offers `taobao@2`."""
    about = folder / "second-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "second_taobao.py").write_text(ADAPTER.replace("{planted}", planted))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: second\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[orderflow.adapters]\ntaobao@2 = second_taobao:Second\n"
    )
    return folder


def with_site(house: Installation, folder: Path) -> Installation:
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return Installation(house.settings, house.env | {"PYTHONPATH": path}, house.folder)


def shops() -> Iterator[str]:
    return (f"shop-{number}" for number in range(10_000))


def trial(permille: int) -> Gray:
    return Gray(platform="taobao", version=2, permille=permille, since_ms=0, by="x", why="x")


def test_a_tenth_of_the_shops_is_meant_and_a_larger_share_keeps_them():
    tenth = {shop for shop in shops() if is_of(trial(100), shop)}
    half = {shop for shop in shops() if is_of(trial(500), shop)}

    assert 900 < len(tenth) < 1100
    assert tenth < half
    assert all(is_of(trial(1000), shop) for shop in shops())


def test_a_trial_that_is_taken_back_is_on_record_and_meant_by_nobody():
    directory = Directory()
    key = reference_key(trial(100))
    directory.put(key, msgspec.json.encode(trial(100)))
    assert directory.grays["taobao"].permille == 100
    ended = GrayEnded(trial=trial(100), at_ms=1, by="lin", why="as before")
    directory.put(reference_key(ended), msgspec.json.encode(ended))
    directory.put(key, None)
    assert directory.grays == {}


async def test_a_version_is_compared_tried_for_some_shops_and_taken_back_by_one_command(
    tmp_path: Path,
) -> None:
    inside = next(shop for shop in shops() if is_of(trial(100), shop))
    outside = next(shop for shop in shops() if not is_of(trial(100), shop))
    payload = (SAMPLE / "trade_unpaid.json").read_bytes()
    async with installation(tmp_path) as plain:
        house = with_site(plain, site(tmp_path / "site", 'b"2222" in payload'))
        with house.running("intake,orders,stock,ledger"):
            await _comes(house, payload, inside, "1111")
            # It says nothing otherwise yet, and starts.
            begun = house.answer("gray", "start", "taobao", "--reason", "freight")
            assert (begun["version"], begun["messages"], begun["differ"]) == (2, 1, 0)
            again = house.answer("gray", "start", "taobao", "--reason", "freight", code=1)
            assert not again["ok"]
            await _becomes(house, payload, inside, "taobao/2")
            assert await _comes(house, payload, outside, "4444") == "taobao/1"
            assert house.answer("gray", "compare", "taobao")["differ"] == 0

            # The planted difference comes by a shop of the trial, and is found; by another, not.
            await _comes(house, payload, inside, "2222")
            await _comes(house, payload, outside, "2222")
            found = house.answer("gray", "compare", "taobao", code=1)
            assert (found["differ"], found["fields"]) == (1, {"shipping": 1})
            (status,) = house.answer("gray", "status")["trials"]
            assert status["read_by"].keys() == {"taobao/1", "taobao/2"}

            house.answer(
                "gray", "back", "taobao", "--reason", "freight was right", "--operator", "lin"
            )
            await _becomes(house, payload, inside, "taobao/1")
            assert house.answer("gray", "status")["trials"] == []
            house.answer("gray", "back", "taobao", "--reason", "again", code=1)
            (ended,) = house.answer("gray", "history", "taobao")["trials"]
            assert (ended["trial"]["version"], ended["trial"]["why"]) == (2, "freight")
            assert (ended["by"], ended["why"]) == ("lin", "freight was right")
            assert ended["trial"]["since_ms"] < ended["at_ms"]

            # Once more: what is there now is compared first, and nothing starts.
            refused = house.answer("gray", "start", "taobao", "--reason", "freight", code=1)
            assert refused["differ"] == 1
            assert house.answer("gray", "status")["trials"] == []
        assert house.at_rest()["ok"]


async def _becomes(house: Installation, payload: bytes, shop: str, adapter: str) -> None:
    """Workers follow within moments: order after order arrives, until one is read by *adapter*."""
    async with asyncio.timeout(HAPPENS_WITHIN_S):
        for number in count(int(adapter[-1]) * 3000 + 1):
            if await _comes(house, payload, shop, str(number)) == adapter:
                return


async def _comes(house: Installation, payload: bytes, shop: str, number: str) -> str:
    """The sample order under another number arrives from *shop*; which adapter read it?"""
    tid = str(_tid(json.loads(payload)))
    new = tid[:-4] + number
    file = house.folder / f"{shop}-{number}.json"
    file.write_bytes(payload.replace(tid.encode(), new.encode()))
    await files.feed(house.settings, files.found([file], "taobao"), shop)
    ledger = await connect(house.env["ORDERFLOW_POSTGRES_READER"], name="test")
    try:
        asked = "SELECT adapter FROM orders WHERE order_key = $1"
        key = f"taobao:{shop}:{new}"
        await until(lambda: ledger.fetchval(asked, key), within=HAPPENS_WITHIN_S)
        return str(await ledger.fetchval(asked, key))
    finally:
        await ledger.close()


def _tid(body: Any) -> Any:
    if isinstance(body, dict):
        return body["tid"] if "tid" in body else next(filter(None, map(_tid, body.values())), None)
    return None
