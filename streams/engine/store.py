"""
A keeper's table: the rows of each partition in memory, and how they come back from the changelog.

Every record of the changelog opens with the position it was written at (a tombstone has it in a
header), and every commit is one batch that ends with the state record. So whatever the order in
the log, and whatever compaction has left of it, the greatest position wins: a late write of a
stopped worker is older or identical, and loses.

A snapshot on disk is a partition that was kept: recovery goes on where it ends.

Promise: what is in memory after a recovery is exactly what one commit left, or the partition is
halted with a sentence that says why. This module never writes to the broker.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from faust.stores import base
from faust.tables.table import Table
from faust.types import TP
from msgspec import DecodeError, msgpack

from agents.frames import POSITION_BYTES
from agents.letters import State
from streams.engine.app import App
from streams.engine.snapshots import Snapshot, SnapshotRefused, Snapshots

logger = logging.getLogger(__name__)

#: Key of the record that closes every commit. No row key starts with a zero byte.
STATE_KEY = b"\x00state"
#: Header of a tombstone: the position it was written at.
AT = "at"
_COUNT_BYTES = 8
_ZERO = bytes(POSITION_BYTES)

_encode_state = msgpack.Encoder().encode
_decode_state = msgpack.Decoder(State).decode


def position_bytes(position: int) -> bytes:
    """Return *position* so that bytes compare as numbers do."""
    return position.to_bytes(POSITION_BYTES, "big")


def write_state(state: State, rows: int) -> bytes:
    """Return the state record: position, number of rows, state."""
    return (
        position_bytes(state.position) + rows.to_bytes(_COUNT_BYTES, "big") + _encode_state(state)
    )


def read_state(record: bytes) -> State:
    """Return the state in its *record*; raises DecodeError."""
    return _decode_state(record[POSITION_BYTES + _COUNT_BYTES :])


class Part:
    """One partition: its rows, its state, and what is known of its changelog."""

    __slots__ = (
        "ahead",
        "clean",
        "decided",
        "end",
        "fault",
        "foreign",
        "fresh",
        "gone",
        "halted",
        "known_end",
        "read",
        "read_to",
        "rows",
        "state",
        "state_record",
        "unfit",
        "unread",
    )

    def __init__(self) -> None:
        #: Row key -> bytes as stored, position first.
        self.rows: dict[bytes, bytes] = {}
        self.state = State()
        #: What is decided and not yet committed: row key -> bytes as they will be stored.
        self.ahead: dict[bytes, bytes | None] = {}
        #: The state after what is decided; that of the last commit where nothing is ahead.
        self.decided = self.state
        #: Had a commit that did not fit: nothing after it may be written.
        self.unfit = False
        #: The state record with the greatest position, as it stands in the changelog.
        self.state_record = b""
        #: Where the next commit must land; None until the log's end was seen.
        self.end: int | None = None
        #: Up to here it was read into memory; what we wrote and what others wrote stands behind it.
        self.read_to = 0
        #: The changelog was once as long as this; it may not be shorter.
        self.known_end = 0
        #: Tombstones of this recovery pass: key -> position. Empty outside of one.
        self.gone: dict[bytes, bytes] = {}
        #: Rows another writer wrote, or that stand in the log in the wrong order -> position there.
        self.foreign: dict[bytes, bytes] = {}
        #: Stretches of the changelog that another writer wrote and nobody has looked at.
        self.unread: list[tuple[int, int]] = []
        #: Was the changelog read to its end at least once?
        self.clean = False
        #: Did this recovery pass change anything?
        self.fresh = True
        #: Records of this recovery pass.
        self.read = 0
        #: Why a record of the changelog could not be understood.
        self.fault = ""
        #: Why this partition waits for a person.
        self.halted = ""

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Part":
        """Return the partition that *snapshot* holds; raises SnapshotRefused."""
        part = cls()
        part.rows = snapshot.rows
        part.state_record = snapshot.state_record
        part.end = part.known_end = part.read_to = snapshot.end
        if why := part._contradiction():
            raise SnapshotRefused(why)
        part.clean = True
        part.go_back()
        return part

    def snapshot(self) -> Snapshot | None:
        """Return what the last commit left; None while the changelog holds what we do not know."""
        if not self.clean or self.halted or self.unread or self.foreign or self.end is None:
            return None
        return Snapshot(dict(self.rows), self.state_record, self.end)

    def take(self, records: Iterable[Any]) -> None:  # noqa: C901  one flat loop; recovery is spent here
        """Apply *records* of the changelog: of each key the greatest position wins."""
        rows, gone, foreign = self.rows, self.gone, self.foreign
        # A kept partition knows every tombstone up to here without having its position.
        floor = position_bytes(self.state.position) if self.clean else _ZERO
        read = 0
        record = None
        for record in records:
            read += 1
            key, value = record.key, record.value
            if value is None:
                self._take_tombstone(record, key, floor)
                continue
            if len(value) < POSITION_BYTES or key is None:
                self._blame(record)
                continue
            known = self.state_record if key == STATE_KEY else rows.get(key)
            if known is None:
                known = gone.get(key, floor)
                if value[:POSITION_BYTES] <= known and known != _ZERO:
                    foreign[key] = known
                    continue
                rows[key] = value
            elif value < known:
                # Position first, so bytes compare as positions do; equal positions mean equal rows.
                foreign[key] = known[:POSITION_BYTES]
                continue
            elif key == STATE_KEY:
                self.state_record = value
            else:
                rows[key] = value
            if foreign:
                # What stands last is the greatest again: somebody has written it over.
                foreign.pop(key, None)
        self.read += read
        if record is not None:
            self.end = self.read_to = record.offset + 1

    def _take_tombstone(self, record: Any, key: bytes, floor: bytes) -> None:
        at = next((bytes(v) for name, v in record.headers if name == AT), None)
        if at is None or key is None:
            self._blame(record)
            return
        known = max(self.rows.get(key, _ZERO)[:POSITION_BYTES], self.gone.get(key, floor))
        if at < known:
            self.foreign[key] = known
            return
        self.rows.pop(key, None)
        self.gone[key] = at
        self.foreign.pop(key, None)

    def _blame(self, record: Any) -> None:
        self.fault = self.fault or f"the record at {record.offset} is none of ours"

    def settle(self) -> None:
        """End a recovery pass: take over the state and say whether everything agrees."""
        if self.read and not self.fault:
            self.fault = self._contradiction()
        self.halted = self.halted or self.fault
        self.gone.clear()
        self.go_back()
        self.fresh = self.fresh or bool(self.read)
        self.read = 0
        self.clean = not self.fault
        self.read_to = self.begins_at()

    def begins_at(self) -> int:
        """
        Return the changelog offset at which the next recovery pass begins.

        Where no other writer was met, memory is the changelog up to our last record. Where one
        was, what it wrote may be newer than we are and not in memory, although it stands before our
        last record: then it is as far as was read, also by a pass that was broken off.
        """
        if self.end is None or self.unread or self.foreign:
            return self.read_to
        return self.end

    def _contradiction(self) -> str:
        record = self.state_record
        if not record:
            return f"{len(self.rows)} rows stand without a state" if self.rows else ""
        try:
            state = read_state(record)
        except DecodeError as error:
            return f"the state cannot be read ({error})"
        newest = max(self.rows.values(), default=b"")[:POSITION_BYTES]
        if newest > record[:POSITION_BYTES]:
            return (
                f"a row was written at {int.from_bytes(newest, 'big')}, "
                f"after the state's {state.position}"
            )
        count = int.from_bytes(record[POSITION_BYTES : POSITION_BYTES + _COUNT_BYTES], "big")
        if count != len(self.rows):
            return f"the state counts {count} rows, {len(self.rows)} were read"
        self.state = state
        return ""

    def go_ahead(self, changes: Mapping[bytes, bytes | None], state: State) -> None:
        """Take note of what is decided: the next decision stands on it."""
        self.ahead |= changes
        self.decided = state

    def go_back(self) -> None:
        """Forget what was decided and never committed."""
        self.ahead.clear()
        self.decided = self.state

    def commit(self, changes: Mapping[bytes, bytes | None], state: State, record: bytes) -> None:
        """Take over what the broker has acknowledged."""
        rows, ahead = self.rows, self.ahead
        for key, value in changes.items():
            if value is None:
                # One None is like another: it may be a later commit's, so it stays for now.
                rows.pop(key, None)
            else:
                rows[key] = value
                if ahead.get(key) is value:
                    del ahead[key]
        if state is self.decided:
            ahead.clear()
        self.state = state
        self.state_record = record

    def rows_after(self, changes: Mapping[bytes, bytes | None]) -> int:
        """Return how many rows there are once *changes* are made."""
        rows = self.rows
        count = len(rows)
        for key, value in changes.items():
            if value is None:
                count -= key in rows
            elif key not in rows:
                count += 1
        return count


class Store(base.Store):
    """The partitions this worker has, as Faust's recovery fills them."""

    app: App

    def __post_init__(self) -> None:
        self.parts: dict[int, Part] = {}
        #: Partitions whose recovery is complete in this generation.
        self.known: set[int] = set()
        self._since = 0.0
        #: None where the installation keeps none.
        self.snapshots: Snapshots | None = None

    def persisted_offset(self, tp: TP) -> int | None:
        """
        Return the offset before the one that recovery begins at; -1: at the earliest record.

        It is our own word for every partition that we have: left without one, Faust goes on at an
        offset of its own, which may be of an earlier assignment or of a pass that was broken off.
        """
        part = self.parts.get(tp.partition)
        return None if part is None else part.begins_at() - 1

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:  # noqa: ARG002  Faust's signature
        """Read frames of the changelog. Never raises: Faust would log it and go on."""
        for event in batch:
            message = event.message
            part = self.parts.get(message.partition)
            if part is None:
                continue
            try:
                part.take(message.value)
            except Exception as error:
                logger.exception("changelog of %s", self.table.name)
                part.fault = part.fault or f"reading it failed: {error!r}"

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],  # noqa: ARG002  Faust's signature
        newly_assigned: set[TP],
        generation_id: int = 0,  # noqa: ARG002  Faust's signature
    ) -> None:
        """Keep what stays, forget what went, and begin anew with what came."""
        self.known = set()
        self._since = time.monotonic()
        topic = self.table.changelog_topic.get_topic_name()
        kept = {tp.partition for tp in assigned - newly_assigned if tp.topic == topic}
        mine = {tp.partition for tp in assigned if tp.topic == topic}
        kept &= self.parts.keys()
        came = await asyncio.gather(*(self._begin(p) for p in sorted(mine - kept)))
        self.parts = {p: self.parts[p] for p in kept} | dict(came)

    async def _begin(self, p: int) -> tuple[int, Part]:
        """Return partition *p* as its snapshot has it, or empty."""
        if (snapshots := self.snapshots) is None:
            return p, Part()
        count = self.app.metrics.snapshots.labels(self.table.name, "refused")
        try:
            if (snapshot := await asyncio.to_thread(snapshots.load, p)) is None:
                return p, Part()
            part = Part.of(snapshot)
        except SnapshotRefused as refused:
            count.inc()
            logger.warning("%s: the snapshot of %d is not used: %s", self.table.name, p, refused)
            return p, Part()
        self.app.metrics.snapshots.labels(self.table.name, "loaded").inc()
        return p, part

    async def on_recovery_completed(
        self,
        active_tps: set[TP],
        standby_tps: set[TP],  # noqa: ARG002  Faust's signature
    ) -> None:
        """Close the recovery pass. Faust ignores what is raised here, so the role takes it."""
        try:
            read = sum(self.parts[tp.partition].read for tp in active_tps)
            self.app.metrics.recovery_records.labels(self.table.name).set(read)
            for tp in active_tps:
                self.parts[tp.partition].settle()
            parts = self.parts
            await self.app.role.recovered(time.monotonic() - self._since)
            if self.parts is parts:
                self.known = {tp.partition for tp in active_tps}
        except Exception as error:
            self.app.fail(error)
            raise

    def reset_state(self) -> None:
        """Faust asks for this on its own; what is in memory stays until the next assignment."""

    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """Leave copies to `snapshots`."""

    def restore_backup(self, *_: Any, **__: Any) -> None:
        """Leave copies to `snapshots`."""

    def _clear(self) -> None:
        self.parts.clear()


class KeeperTable(Table):
    """Faust's table with our store under it; rows are changed by the keeper's commits alone."""

    def _new_store(self) -> Store:
        return Store(
            "keeper://",
            self.app,
            self,
            key_type=self.key_type,
            value_type=self.value_type,
            key_serializer="raw",
            value_serializer="raw",
            options={},
        )
