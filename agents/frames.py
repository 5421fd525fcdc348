"""
The heart of a keeper: one frame of one inbox partition, decided record by record.

A frame goes in with the partition's rows and state; slices come out, each with the letters to
send first and the rows and state to write after them, as one atomic batch. Cutting a frame
elsewhere changes nothing: the same records give the same rows and the same letters.

The one broad `except` of the house stands here. Faust acknowledges a record even when its
handler raises; an exception that left this loop would take the record with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from msgspec import DecodeError, Struct, ValidationError

from agents.letters import ANNOUNCED, Letterbox, Outbox, Post, State, is_repeat, unseal
from schemas.errors import MalformedPayload, PartitionHalted, Rejected, UndecodableMessage
from schemas.parked import Cause, Parked, Stage
from tables.spec import ROW_BYTES_MAX, Table

#: Every stored row opens with the position it was written at: on recovery the greatest wins.
POSITION_BYTES = 8
#: A slice closes before its changes could pass one record batch (1 MB) of the changelog.
SLICE_BYTES_MAX = 700_000
#: A command beyond this size has its rows measured before its letters go out.
LARGE_BYTES = 64 * 1024
_ABSENT: Any = object()


class Record(Protocol):
    """What is read of a Kafka record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Slice(NamedTuple):
    """What one commit is made of. Letters first, then rows and state as one batch."""

    letters: Outbox
    #: Row key -> bytes as stored, position first; None is a tombstone.
    changes: dict[bytes, bytes | None]
    #: The rows as values, for what is computed beside the store (deadlines).
    rows: dict[bytes, Any]
    state: State
    counts: "Counts"


class Counts(Struct):
    """What a slice met on its way."""

    commands: int = 0
    #: Records below the position: decided before.
    skipped: int = 0
    #: Letters received before.
    repeats: int = 0
    #: Announcements of an epoch.
    announced: int = 0
    parked: int = 0
    #: Of the parked, our own mistakes: where each was made, the error with its traceback, and the
    #: command, for the log.
    failures: list[tuple[int, Exception, Any]] = []


_NOTHING = Counts()


class Inbox(NamedTuple):
    """The partition a keeper reads."""

    topic: str
    partition: int


class FrameRows:
    """The rows of one partition as the commands of this frame left them."""

    __slots__ = ("_ahead", "_decode", "_earlier", "_stored", "read_bytes", "touched")

    def __init__(
        self, stored: Mapping[bytes, bytes], ahead: Mapping[bytes, bytes | None], table: Table
    ) -> None:
        self._stored = stored
        self._ahead = ahead
        self._decode = table.decode_row
        #: Rows that earlier slices of this frame left; they are not in the store yet.
        self._earlier: dict[bytes, Any] = {}
        #: Rows that this slice changed.
        self.touched: dict[bytes, Any] = {}
        #: Bytes of the stored rows this slice has read: what it may write back.
        self.read_bytes = 0

    def get(self, key: bytes) -> Any:
        """Return the row under *key*, or None."""
        row = self.touched.get(key, _ABSENT)
        if row is not _ABSENT:
            return row
        if self._earlier and (row := self._earlier.get(key, _ABSENT)) is not _ABSENT:
            return row
        ahead = self._ahead
        raw = ahead[key] if key in ahead else self._stored.get(key)
        if raw is None:
            return None
        self.read_bytes += len(raw)
        return self._decode(raw[POSITION_BYTES:])

    def next_slice(self) -> None:
        """Begin a new slice on what the last one left."""
        self._earlier |= self.touched
        self.touched = {}
        self.read_bytes = 0


class FrameDecider:
    """
    Decides one frame of one inbox partition. Used once.

    *ahead* is what earlier frames have decided and nobody has committed yet: it goes before
    *stored*, and *state* is the one they left. All letters go to *outbox*, where one is given;
    what an open slice has put there before it is dropped will be said again with the same number.
    """

    def __init__(
        self,
        stored: Mapping[bytes, bytes],
        state: State,
        table: Table,
        inbox: Inbox,
        post: Post,
        ahead: Mapping[bytes, bytes | None] = MappingProxyType({}),
        outbox: Outbox | None = None,
    ) -> None:
        self._outbox = outbox
        self._table = table
        self._inbox = inbox
        self._post = post
        self._rows = FrameRows(stored, ahead, table)
        self._position = state.position
        self._epoch = state.epoch
        self._sent, self._got = dict(state.sent), dict(state.got)
        self._open()

    def _open(self) -> None:
        self._letters = Letterbox() if self._outbox is None else self._outbox
        self._bytes = 0
        self._counts = Counts()

    def decide(self, records: Sequence[Record]) -> Iterator[Slice]:  # noqa: C901  see its loop
        """
        Yield the commits of the frame, in order.

        Raises PartitionHalted at a hole in the inbox, a lost letter or an unknown epoch. The open
        slice is dropped by that: its records are replayed after the repair.
        """
        rows, got, counts = self._rows, self._got, self._counts
        decode, decide, address = self._table.decode_command, self._table.decide, self._post.address
        growth = self._table.growth_bytes
        # One loop and no calls of our own in it but the rules': it is the cost of every command.
        for record in records:
            if record.offset != self._position:
                self._skip(record)
                continue
            if self._bytes + rows.read_bytes > SLICE_BYTES_MAX:
                yield self._close()
                got, counts = self._got, self._counts
            command, value, sender = None, record.value, -1
            self._position += 1
            try:
                sender, epoch, number, body = unseal(value)
                if sender >= 0 and is_repeat(got, sender, epoch, number):
                    if sender >= ANNOUNCED:
                        self._announced(sender, epoch)
                    else:
                        counts.repeats += 1
                    continue
                command = decode(body)
                changes, said = decide(rows, command, record.timestamp)
                if len(body) > LARGE_BYTES:
                    self._check_size(changes)
            except (PartitionHalted, MemoryError, RecursionError):
                self._position -= 1
                raise
            except Exception as error:  # noqa: BLE001  the message's fault, or a bug in deciding it
                changes, said = {}, self._parked(record, command, error)
            counts.commands += 1
            self._bytes += len(value or b"") + growth * len(changes)
            rows.touched.update(changes)
            address(said, self._sent, self._epoch, record.timestamp, self._letters, sender)
        if self._counts != _NOTHING:
            yield self._close()

    def _announced(self, sender: int, epoch: int) -> None:
        """Take note of an announcement; one of this partition itself starts its epoch."""
        self._counts.announced += 1
        own = ANNOUNCED | self._table.number << 16 | self._inbox.partition
        if sender == own and epoch > self._epoch:
            # The position goes on and rows stay; letters are numbered from 1 again.
            self._epoch, self._sent = epoch, {}

    def _skip(self, record: Record) -> None:
        """Pass over a record that was seen before; a hole is not passed over."""
        if record.offset > self._position:
            raise PartitionHalted(
                f"{self._inbox.topic}/{self._inbox.partition}: the record at {self._position} "
                f"is missing, the next is {record.offset}"
            )
        self._counts.skipped += 1

    def _check_size(self, changes: Mapping[bytes, Any]) -> None:
        """Refuse a row that would not fit one batch before its letters go out."""
        for row in changes.values():
            size = 0 if row is None else len(self._table.encode_row(row))
            if size > ROW_BYTES_MAX:
                raise MalformedPayload(
                    "message", f"its row takes {size} bytes, at most {ROW_BYTES_MAX} are kept"
                )

    def _parked(self, record: Record, command: Any, error: Exception) -> list[Struct]:
        self._counts.parked += 1
        if cause_of(error) is Cause.BUG:
            self._counts.failures.append((record.offset, error, command))
        said: list[Struct] = [park(record, self._inbox, self._table.name, error)]
        if command is not None:
            said += self._table.answer_failed(command, record.timestamp)
        return said

    def _close(self) -> Slice:
        state = State(self._position, self._epoch, self._sent, self._got)
        at = self._position.to_bytes(POSITION_BYTES, "big")
        encode, rows = self._table.encode_row, self._rows.touched
        changes = {key: None if row is None else at + encode(row) for key, row in rows.items()}
        closed = Slice(self._letters, changes, rows, state, self._counts)
        self._sent, self._got = dict(self._sent), dict(self._got)
        self._rows.next_slice()
        self._open()
        return closed


def park(record: Record, inbox: Inbox, stage: str, error: Exception) -> Parked:
    """Return *record* whole, with why it could not be handled; tracebacks stay in the log."""
    topic, partition = inbox
    return Parked(
        id=f"{topic}/{partition}/{record.offset}",
        stage=Stage(stage),
        cause=cause_of(error),
        field=getattr(error, "field", ""),
        reason=str(error) or type(error).__name__,
        topic=topic,
        partition=partition,
        offset=record.offset,
        key=record.key,
        value=record.value or b"",
        seen_ms=record.timestamp,
    )


def cause_of(error: Exception) -> Cause:
    """Return whose fault *error* is."""
    match error:
        case UndecodableMessage():
            return Cause.UNREADABLE
        case Rejected() | ValidationError():
            return Cause.MALFORMED
        case DecodeError():
            return Cause.UNREADABLE
        case _:
            return Cause.BUG
