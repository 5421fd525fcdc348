"""
The incident: 1,200 orders of a Los Angeles system read in another zone, 16 hours off, unnoticed.

From a webhook's bytes to the counter that alerts: through the gateway's process and a worker's.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from tests.e2e.test_an_order_from_platform_to_ledger import eventually, order_in
from tests.installation import installation
from tests.integration.at_the_gate import MALL_KEY, a_gate, shops_file
from tests.integration.conftest import _addresses
from tests.integration.test_engine_health import a_free_port, get

pytestmark = pytest.mark.stack

PLACED = Path(__file__).parents[1] / "adapters" / "payloads" / "mall" / "order_placed.json"


def placed(order_id: str, at: datetime, offset: str) -> bytes:
    """An order whose clock shows *at*, and whose writer claims that this is *offset*."""
    said = f"{at:%Y-%m-%dT%H:%M:%S}{offset}"
    order: dict[str, Any] = json.loads(PLACED.read_bytes())
    order |= {"platform_order_id": order_id, "created_at": said, "updated_at": said}
    return json.dumps(order).encode()


async def test_orders_sixteen_hours_off_are_parked_as_future_or_counted_as_late(tmp_path: Path):
    now = datetime.now(UTC)
    los_angeles = now.astimezone(ZoneInfo("America/Los_Angeles"))
    beijing = now.astimezone(ZoneInfo("Asia/Shanghai"))
    of_la = los_angeles.strftime("%z")
    port = a_free_port()
    async with installation(tmp_path) as house:
        redis = _addresses()["ORDERFLOW_REDIS"]
        settings = house.settings.model_copy(update={"redis": _secret(redis)})
        file = tmp_path / "mall.toml"
        file.write_text('[[shops]]\nplatform = "mall"\nshop = "*"\nsku_mapping = "identity"\n')
        house.orderflow("reference", "apply", str(file))
        with (
            a_gate(settings, shops_file(tmp_path), tmp_path / "gate.log") as gate,
            house.running("intake,orders,stock,ledger", ORDERFLOW_HEALTH_PORT=str(port)),
        ):
            async with aiohttp.ClientSession(gate.url) as client:
                for order in (
                    placed("RIGHT", beijing, "+08:00"),
                    # Beijing's clock, said to be Los Angeles': 15 or 16 hours from now.
                    placed("AHEAD", beijing, f"{of_la[:3]}:{of_la[3:]}"),
                    # Los Angeles' clock, said to be Beijing's: as long ago.
                    placed("BEHIND", los_angeles, "+08:00"),
                    # A clock that is a little fast is no wrong zone.
                    placed("FAST", beijing + timedelta(minutes=5), "+08:00"),
                ):
                    async with client.post(
                        "/v1/orders", data=order, headers={"Authorization": f"Bearer {MALL_KEY}"}
                    ) as answer:
                        assert answer.status == 202, await answer.text()

            for order_id in ("RIGHT", "BEHIND", "FAST"):
                await asyncio.to_thread(eventually, order_in(house, order_id))
            (parked,) = await asyncio.to_thread(
                eventually, lambda: house.answer("exceptions", "list")["exceptions"]
            )
            counted = await _counters(port)

    assert (parked["cause"], parked["field"]) == ("future", "created_at")
    assert "was its zone read right?" in parked["reason"]
    assert counted['orderflow_intake_parked_total{cause="future"}'] == 1
    assert counted['orderflow_intake_late_total{platform="mall"}'] == 1


def _secret(text: str) -> Any:
    from pydantic import SecretStr  # noqa: PLC0415

    return SecretStr(text)


async def _counters(port: int) -> dict[str, float]:
    _, page = await get(port, "/metrics")
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in page.splitlines())
        if name.startswith("orderflow_intake_")
    }
