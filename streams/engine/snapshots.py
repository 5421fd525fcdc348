"""
Snapshots: a partition's rows on this machine's disk, so that a worker that comes back reads the
end of its changelog and not the whole of it.

One file a partition: rows, state record, the changelog's topic id and the offset to go on from,
closed by a checksum, written beside its place and renamed into it. A snapshot is a convenience.
One that is torn, stale, of another topic or of a later format is refused with the reason and the
changelog is read instead; one that cannot be written is counted, and costs time at the next start.

Promise: what is loaded is what one commit left, or nothing is loaded.
"""

import asyncio
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from msgspec import DecodeError, Struct, msgpack

from streams.clock import now_ms
from streams.topics import TOMBSTONES_KEPT

logger = logging.getLogger(__name__)

_MAGIC = b"orderflow snapshot 1\n"
_LENGTH_BYTES = 4
_DIGEST_BYTES = 32
#: Rows that are encoded at once: about a millisecond during which nothing else runs.
_CHUNK_ROWS = 5_000
#: No chunk that we write is larger; a length beyond it was not written by us.
_CHUNK_BYTES_MAX = 256 * 1024 * 1024
#: A changelog that has grown by so many records, and by as many as there are rows, is worth one.
GROWN_RECORDS = 100_000
#: Recovery itself takes time during which tombstones must still be there.
STALE_AFTER = TOMBSTONES_KEPT - timedelta(hours=1)
#: What a writer that died has left beside its file is removed when it is older than this.
_LEFT_OVER_AFTER_S = 3600.0

_encode = msgpack.Encoder().encode
_decode_rows = msgpack.Decoder(dict[bytes, bytes]).decode


class SnapshotRefused(Exception):  # noqa: N818  a refusal, said in one sentence
    """A snapshot that must not be used; the changelog is read instead."""


class Snapshot(NamedTuple):
    """What one commit left of one partition."""

    #: Row key -> bytes as stored, position first.
    rows: dict[bytes, bytes]
    #: The state record as it stands in the changelog.
    state_record: bytes
    #: The changelog's offset to go on from.
    end: int


class _Head(Struct, array_like=True):
    """What stands before the rows."""

    topic: str
    topic_id: bytes
    partition: int
    end: int
    written_ms: int
    rows: int
    state_record: bytes


_decode_head = msgpack.Decoder(_Head).decode


class Snapshots:
    """The snapshots of one changelog: loaded when a partition comes, written as it grows."""

    def __init__(self, directory: Path, topic: str, topic_id: bytes, every: timedelta) -> None:
        self._directory = directory
        self._topic = topic
        self._topic_id = topic_id
        self._every = every.total_seconds()
        #: Partition -> changelog offset of its last snapshot, and when that was.
        self._last: dict[int, tuple[int, float]] = {}
        self._writing: asyncio.Task[None] | None = None
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._remove_left_overs()

    def load(self, p: int) -> Snapshot | None:
        """
        Return the snapshot of partition *p*, or None where there is none.

        Raises SnapshotRefused with the reason. Blocks: call it in a thread.
        """
        self._last[p] = (0, time.monotonic())
        try:
            with self._path(p).open("rb") as file:
                head, rows = _read(file)
        except FileNotFoundError:
            return None
        except (OSError, DecodeError, ValueError) as error:
            raise SnapshotRefused(f"it cannot be read ({error})") from error
        self._check(p, head, len(rows))
        self._last[p] = (head.end, time.monotonic())
        return Snapshot(rows, head.state_record, head.end)

    def _check(self, p: int, head: _Head, rows: int) -> None:
        if (head.topic, head.partition) != (self._topic, p):
            raise SnapshotRefused(f"it is of {head.topic}/{head.partition}")
        if head.topic_id != self._topic_id:
            raise SnapshotRefused("the topic was deleted and made anew since it was written")
        age = timedelta(milliseconds=now_ms() - head.written_ms)
        if age > STALE_AFTER:
            raise SnapshotRefused(f"it is {age} old: the changelog may have forgotten since then")
        if age < timedelta(0):
            raise SnapshotRefused(f"it was written {-age} from now: one of the clocks is wrong")
        if head.rows != rows:
            raise SnapshotRefused(f"it counts {head.rows} rows and has {rows}")

    def due(self, p: int, end: int, rows: int) -> bool:
        """
        Say whether partition *p*, of *rows*, whose changelog ends at *end*, is worth a snapshot.

        What a snapshot costs grows with the rows and what it saves with the records since the
        last, so a partition is written when it has grown by as much as it holds, and in any case
        after a while.
        """
        if self._writing is not None:
            return False
        before, at = self._last.get(p, (0, 0.0))
        grown = end - before
        overdue = time.monotonic() >= at + self._every
        return grown > 0 and (overdue or grown >= max(GROWN_RECORDS, rows))

    def write(self, p: int, snapshot: Snapshot) -> "asyncio.Task[None]":
        """Begin to write *snapshot* in a thread, and return what ends with it."""
        self._last[p] = (snapshot.end, time.monotonic())
        self._writing = asyncio.create_task(asyncio.to_thread(self._write, p, snapshot))
        self._writing.add_done_callback(self._written)
        return self._writing

    def _written(self, _task: "asyncio.Task[None]") -> None:
        self._writing = None

    def _write(self, p: int, snapshot: Snapshot) -> None:
        path = self._path(p)
        beside = path.with_name(f"{path.name}.{os.getpid()}.part")
        head = _Head(
            self._topic, self._topic_id, p, snapshot.end, now_ms(), len(snapshot.rows),
            snapshot.state_record,
        )  # fmt: skip
        try:
            with open(beside, "wb", opener=_for_us_alone) as file:
                _put(file, head, snapshot.rows)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        _sync_directory(self._directory)

    def _path(self, p: int) -> Path:
        return self._directory / f"{self._topic}.{p}.snapshot"

    def _remove_left_overs(self) -> None:
        oldest = time.time() - _LEFT_OVER_AFTER_S
        for left in self._directory.glob(f"{self._topic}.*.part"):
            if left.stat().st_mtime < oldest:
                left.unlink(missing_ok=True)


def _put(file: IO[bytes], head: _Head, rows: Mapping[bytes, bytes]) -> None:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for piece in _pieces(head, rows):
        digest.update(piece)
        file.write(piece)
    file.write(digest.digest())


def _pieces(head: _Head, rows: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Yield the file: magic, head, chunks of rows each after its length, an empty chunk."""
    yield _MAGIC
    yield from _chunk(_encode(head))
    items = iter(rows.items())
    while some := dict(islice(items, _CHUNK_ROWS)):
        yield from _chunk(_encode(some))
    yield from _chunk(b"")


def _chunk(body: bytes) -> Iterable[bytes]:
    return len(body).to_bytes(_LENGTH_BYTES, "big"), body


def _read(file: IO[bytes]) -> tuple[_Head, dict[bytes, bytes]]:
    """Return head and rows. Raises ValueError or DecodeError where it is not what we wrote."""
    digest = blake2b(digest_size=_DIGEST_BYTES)

    def take(size: int) -> bytes:
        piece = file.read(size)
        if len(piece) != size:
            raise ValueError("it ends in the middle")
        digest.update(piece)
        return piece

    def chunk() -> bytes:
        size = int.from_bytes(take(_LENGTH_BYTES), "big")
        if size > _CHUNK_BYTES_MAX:
            raise ValueError(f"a chunk of {size} bytes")
        return take(size)

    if take(len(_MAGIC)) != _MAGIC:
        raise ValueError("it has another format")
    head = _decode_head(chunk())
    rows: dict[bytes, bytes] = {}
    while body := chunk():
        rows.update(_decode_rows(body))
    if file.read() != digest.digest():
        raise ValueError("its checksum does not fit")
    return head, rows


def _for_us_alone(path: str, flags: int) -> int:
    """Open a file that nobody else may read: rows can hold what is personal."""
    return os.open(path, flags, 0o600)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
