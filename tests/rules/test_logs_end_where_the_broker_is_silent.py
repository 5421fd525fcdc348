"""A partition that brings nothing is not waited for without end, and a broker away is said so."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from agents.intake import Output
from schemas.errors import BrokerUnavailable
from streams import raw_log
from streams.mapping import publishing
from streams.mapping.waking import Found
from streams.raw_log import RawLog
from streams.settings import Settings
from streams.topics import raw

SETTINGS = Settings(kafka="nowhere:1")


class Silent:
    """A consumer of one partition, which ends at 1 and brings nothing."""

    def assignment(self) -> set[Any]:
        return set()

    def assign(self, _tps: list[Any]) -> None:
        pass

    def seek(self, _tp: Any, _offset: int) -> None:
        pass

    async def seek_to_beginning(self, _tp: Any) -> None:
        pass

    async def end_offsets(self, tps: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(tps, 1)

    async def position(self, _tp: Any) -> int:
        return 0

    async def getmany(self, *_tps: Any, timeout_ms: int) -> dict[Any, list[Any]]:
        assert timeout_ms > 0
        await asyncio.sleep(0)
        return {}


async def test_a_silent_partition_ends_the_reading(monkeypatch: pytest.MonkeyPatch):
    async def one(_settings: Settings, names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, 1)

    monkeypatch.setattr(raw_log, "verify", one)
    log = RawLog(SETTINGS)
    log._consumer = Silent()

    with pytest.raises(BrokerUnavailable, match="brings nothing from 0, and ends at 1"):
        async with asyncio.timeout(5):
            _ = [record async for record in log.all_now(raw("taobao"))]


class Gone:
    """A producer whose broker went away after the topics were looked at."""

    async def start(self) -> None:
        raise KafkaConnectionError("gone")

    async def stop(self) -> None:
        pass


async def test_a_broker_that_goes_while_orders_are_woken_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
):
    async def one(_settings: Settings, names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, 1)

    monkeypatch.setattr(publishing, "verify", one)
    monkeypatch.setattr(publishing.raw_records, "producer", lambda _settings: Gone())
    publisher = publishing.Publisher(SETTINGS, "nowhere")
    order = Output("order-commands", b"taobao:qingyou:1", b"", None)

    with pytest.raises(BrokerUnavailable):
        await publisher._send(Found([order], 1, []))
