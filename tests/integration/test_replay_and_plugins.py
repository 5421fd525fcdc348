"""docs/add-a-platform.md, followed to the letter; and a new version tried before the switch."""

import asyncio
import hmac
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.test_an_order_from_platform_to_ledger import eventually, order_in
from tests.installation import Installation, installation
from tests.integration.at_the_gate import a_gate, shops_file
from tests.integration.databases import ROOT

pytestmark = pytest.mark.stack

PAGE = ROOT / "docs" / "add-a-platform.md"


def written(folder: Path) -> list[str]:
    """Write the files of the page into *folder*; return the commands of its console."""
    text = PAGE.read_text()
    for name, body in re.findall(r"^```\w+ file=(\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        (folder / name).write_text(body)
    (console,) = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for line in console.splitlines()]


def installed(package: Path, into: Path) -> None:
    """As the page says, into a folder that only this test's commands look into."""
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--no-build-isolation", "--disable-pip-version-check", "--target", str(into), ".",
        ],
        cwd=package, check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def said(house: Installation, command: str, folder: Path) -> str:
    """Run one line of the page."""
    words = [str(folder / word) if (folder / word).is_file() else word for word in command.split()]
    assert words.pop(0) == "orderflow"
    return house.orderflow(*words)


def with_path(house: Installation, folder: Path) -> Installation:
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return Installation(house.settings, house.env | {"PYTHONPATH": path}, house.folder)


async def remove_topic(house: Installation) -> None:
    from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415

    admin = AIOKafkaAdminClient(bootstrap_servers=house.settings.kafka)
    await admin.start()
    try:
        await admin.delete_topics([house.settings.topic("raw-orders-lampmart")])
    finally:
        await admin.close()


async def test_a_platform_of_a_third_party_needs_no_change_of_ours(tmp_path: Path):
    package, place = tmp_path / "lampmart", tmp_path / "site"
    package.mkdir()
    pip, normalize, topics, reference, feed, show = written(package)
    assert pip == "pip install --no-deps --no-build-isolation ."
    installed(package, place)
    async with installation(tmp_path) as plain:
        house = with_path(plain, place)
        assert '"platform_order_id":"A-1001"' in said(house, normalize, package).replace(" ", "")
        assert "raw-orders-lampmart" in said(house, topics, package)
        try:
            said(house, reference, package)
            with house.running("intake,orders,stock,ledger"):
                house.orderflow("stock", "receive", "BASKET-L", "9", "--reason", "delivery")
                said(house, feed, package)
                order = await asyncio.to_thread(
                    eventually, order_in(house, "A-1001", reservation="reserved")
                )
                assert "BASKET-L" in said(house, show, package)
                await _its_webhooks_are_taken(house, package, place)
            assert order["order_key"] == "lampmart:downtown:A-1001"
            assert (order["total_minor"], order["currency"]) == (2580, "USD")
            # Los Angeles in November: UTC-8.
            assert order["created_at"].startswith("2026-11-11T17:30:00")
            await _a_new_version_is_tried(house, package, place)
        finally:
            await remove_topic(house)


async def _its_webhooks_are_taken(house: Installation, package: Path, place: Path) -> None:
    """By the gateway's process: signed it becomes an order; changed on its way it is refused."""
    shops = package / "webhooks.toml"
    shops.chmod(0o640)
    body = (package / "order.json").read_bytes().replace(b"A-1001", b"A-1002")
    signature = hmac.new(b"key-of-downtown", body, "sha256").hexdigest()
    hook = "/v1/webhooks/lampmart/downtown"
    with a_gate(house.settings, shops, house.folder / "gate.log", PYTHONPATH=str(place)) as gate:
        answers = []
        async with aiohttp.ClientSession(gate.url) as session:
            for data, headers in (
                (body, {"X-Lampmart-Signature": signature}),
                (body + b" ", {"X-Lampmart-Signature": signature}),
                (body, {}),
            ):
                async with session.post(hook, data=data, headers=headers) as answer:
                    answers.append(answer.status)
    assert answers == [200, 401, 401]
    order = await asyncio.to_thread(eventually, order_in(house, "A-1002"))
    assert order["order_key"] == "lampmart:downtown:A-1002"


async def _a_new_version_is_tried(house: Installation, package: Path, place: Path) -> None:
    """The second version reads shipping into the total, and refuses what costs nothing."""
    same = house.answer("replay", "--platform", "lampmart", "--adapter-version", "1", "--diff")
    assert (same["messages"], same["same"], same["differ"]) == (2, 2, 0)
    assert "There is no version 2" in _refused(house, "lampmart", "2")

    code = (package / "lampmart.py").read_text()
    newer = code.replace("version = 1", "version = 2").replace(
        "currency=currency,", 'currency=currency, paid=1, payment_method="card",'
    )
    (package / "lampmart_two.py").write_text(newer)
    project = (package / "pyproject.toml").read_text()
    project = project.replace(
        'lampmart = "lampmart:Lampmart"',
        'lampmart = "lampmart:Lampmart"\n"lampmart@2" = "lampmart_two:Lampmart"',
    ).replace('["lampmart"]', '["lampmart", "lampmart_two"]')
    (package / "pyproject.toml").write_text(project.replace('version = "1.0"', 'version = "2.0"'))
    two = place.parent / "site-two"
    installed(package, two)

    newest = with_path(house, two)
    told = newest.answer("replay", "--platform", "lampmart", "--diff", code=1)
    assert (told["now"], told["then"], told["differ"]) == (1, 2, 2)
    assert {each["field"]: (each["now"], each["then"]) for each in told["differences"]} == {
        "paid": (None, 1), "payment_method": (None, "card"),
    }  # fmt: skip
    assert {each["order"] for each in told["differences"]} == {
        "lampmart:downtown:A-1001", "lampmart:downtown:A-1002",
    }  # fmt: skip
    assert newest.answer("replay", "--platform", "lampmart", code=1)["differences"] == []


def _refused(house: Installation, platform: str, version: str) -> str:
    done: Any = subprocess.run(
        [
            sys.executable, "-m", "streams.cli", "replay", "--platform", platform,
            "--adapter-version", version,
        ],
        env=house.env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    return str(done.stderr)


@pytest.mark.parametrize(
    ("named", "object_", "told"),
    [
        ("taobao", "lampmart:Lampmart", "is there already"),
        ("Lamp Mart", "lampmart:Lampmart", "lower-case"),
        ("lampmart", "lampmart:Nothing", "cannot be loaded"),
        ("othermart", "lampmart:Lampmart", "both say the same"),
        ("lampmart", "json:loads", "has no platform"),
    ],
)
def test_a_package_that_is_wrong_is_named_in_one_sentence(
    tmp_path: Path, named: str, object_: str, told: str
):
    written(tmp_path)
    info = tmp_path / "orderflow_lampmart-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: orderflow-lampmart\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(f"[orderflow.adapters]\n{named} = {object_}\n")

    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "normalize", "taobao", str(tmp_path / "order.json")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 78, done.stderr
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("named", "object_", "told"),
    [
        ("shopify", "lampmart:WEBHOOKS", "are taken already"),
        ("othermart", "lampmart:WEBHOOKS", "no such platform"),
        ("mall", "lampmart:WEBHOOKS", "no such platform"),
        ("jd", "lampmart:NOTHING", "cannot be loaded"),
        ("jd", "lampmart:Lampmart", "is no Verifier"),
    ],
)
def test_webhooks_of_a_package_that_are_wrong_are_named_in_one_sentence(
    tmp_path: Path, named: str, object_: str, told: str
):
    written(tmp_path)
    gate = tmp_path / "gate"
    gate.mkdir()
    info = tmp_path / "orderflow_lampmart-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: orderflow-lampmart\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(f"[orderflow.verifiers]\n{named} = {object_}\n")

    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "gateway", "--port", "0"],
        env={
            **os.environ, "PYTHONPATH": str(tmp_path), "ORDERFLOW_KAFKA": "127.0.0.1:1",
            "ORDERFLOW_SHOPS_FILE": str(shops_file(gate)),
        },
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 78, done.stderr
    assert told in done.stderr
