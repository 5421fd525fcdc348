"""The desk of settlements: a page waits for its turn so long, and is told."""

import asyncio
from pathlib import Path

import pytest

from streams.operations.operation import Refused
from streams.settings import Settings
from streams.settlements import desk


async def test_a_page_whose_turn_does_not_come_is_told_and_the_next_one_has_its_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at_work, ended = asyncio.Event(), asyncio.Event()

    async def process(*_: str) -> tuple[int, bytes, bytes]:
        at_work.set()
        await ended.wait()
        return 0, b'{"ok":true}\n', b""

    monkeypatch.setattr(desk, "_process", process)
    monkeypatch.setattr(desk, "_TURN_WITHIN_S", 0.05)
    its = desk.Desk(Settings(kafka="none:0", import_folder=tmp_path))
    first = asyncio.create_task(its.match("taobao", "samples"))
    await at_work.wait()

    with pytest.raises(Refused, match="settling_busy"):
        await its.match("taobao", "samples")
    ended.set()

    assert (await first, await its.match("taobao", "samples")) == ({"ok": True}, {"ok": True})
