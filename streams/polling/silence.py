"""
Listens whether a channel is silent, and tells both ends of it: once each, and after any crash.

    orders (PostgreSQL) ──> rule (agents/silence) ──> channel_silences ──> channel-events
                                     └──> gauges

What is new is written down first and told afterwards, until the broker has it; a crash in between
tells it again under the same id. The history of weeks is read whole at the start and now and then;
in between only the last hours are read, which is what may have changed.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from agents.letters import CE_CHANNELS, Headers, public_event
from agents.silence import WEEKS, Hour, Verdict, changes, judged
from schemas.channels import ChannelSilent, ChannelTalking, TalksAgain
from streams.gateway.door import BrokerDoor
from streams.polling.metrics import Metrics
from streams.polling.store import Store
from streams.topics import CHANNEL_EVENTS
from streams.topology import by_channel

logger = logging.getLogger(__name__)

#: Learned from: the weeks before a silence, and one in which it may last.
_HISTORY = timedelta(weeks=WEEKS + 1)
#: Orders are written this late only when the ledger was away; the next whole reading finds them.
_MAY_CHANGE = timedelta(hours=3)
_WHOLE_EVERY = timedelta(hours=6)
#: Silences that are told in one look; the others wait for the next.
_TOLD_MAX = 500


class SilenceWatch:
    """What one process knows of all channels' hours."""

    def __init__(self, store: Store, door: BrokerDoor, metrics: Metrics) -> None:
        self._store = store
        self._door = door
        self._metrics = metrics
        self._hours: dict[tuple[str, str, datetime], Hour] = {}
        self._whole_at: datetime | None = None

    async def look(self, now: datetime) -> list[Verdict]:
        """Judge every channel as of *now*, and tell what has changed. Raises Unavailable."""
        await self._learn(now)
        verdicts = judged(self._hours.values(), now)
        new = changes(verdicts, await self._store.silences(), now)
        if new.began or new.ended:
            await self._store.note(new, now)
        await self._tell()
        self._metrics.channels(verdicts, now)
        return verdicts

    async def _learn(self, now: datetime) -> None:
        is_whole = self._whole_at is None or now - self._whole_at >= _WHOLE_EVERY
        since = now - (_HISTORY if is_whole else _MAY_CHANGE)
        found = await self._store.hours(since.replace(minute=0, second=0, microsecond=0), now)
        # Only now: without its history every channel would be new, and every silence over.
        if is_whole:
            self._hours.clear()
            self._whole_at = now
        for hour in found:
            self._hours[hour.platform, hour.shop, hour.at] = hour

    async def _tell(self) -> None:
        for row in await self._store.untold(_TOLD_MAX):
            for event, value, headers in _events(row):
                await self._door.send(CHANNEL_EVENTS.name, by_channel(event), value, headers)
            await self._store.told(row["id"], ended=row["ended_at"] is not None)


def _events(
    row: dict[str, Any],
) -> Iterator[tuple[ChannelSilent | ChannelTalking, bytes, Headers]]:
    """Yield what is still to be told of a silence."""
    about = {
        "silence": row["id"],
        "platform": row["platform"],
        "shop": row["shop"],
        "last_order_ms": _ms(row["last_order_at"]),
    }
    began_ms, who = _ms(row["began_at"]), f"{row['platform']} shop {row['shop']}"
    if not row["told_began"]:
        expected = round(row["expected"])
        logger.error("%s is silent: %d orders were to be expected since its last", who, expected)
        silent = ChannelSilent(**about, at_ms=began_ms, expected_orders=expected)
        yield silent, *public_event(silent, CE_CHANNELS, f"silence/{row['id']}/began", began_ms)
    if row["ended_at"] is not None:
        by = TalksAgain.ORDER if row["by_order"] else TalksAgain.FORGOTTEN
        at_ms = _ms(row["ended_at"])
        logger.warning("%s is silent no more (%s)", who, by)
        talking = ChannelTalking(**about, at_ms=at_ms, began_ms=began_ms, by=by)
        yield talking, *public_event(talking, CE_CHANNELS, f"silence/{row['id']}/ended", at_ms)


def _ms(at: datetime) -> int:
    return round(at.astimezone(UTC).timestamp() * 1000)
