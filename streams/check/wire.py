"""
How bytes are written, restated: prefix, MessagePack, CloudEvents, changelog rows.

Everything comes back as lists, dicts and numbers. What cannot be read is None, never an
exception: the log may hold anything, and whoever asks decides whether that is a violation.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct as Layout
from typing import Any, NamedTuple, Protocol

from msgspec import DecodeError, json, msgpack

from streams.check.words import KEEPERS

#: kind (1 letter, 0 unnumbered, 2 announcement of an epoch), keeper, partition, epoch, number.
_PREFIX = Layout(">BBHIQ")
PREFIX_BYTES = 16
POSITION_BYTES = 8
#: A state record: position, number of rows, then MessagePack.
_STATE_HEAD_BYTES = 16
#: Marks, in a state, the code of a sender whose epoch was announced.
_ANNOUNCED = 1 << 24
STATE_KEY = b"\x00state"
#: Header of a changelog tombstone: the position it was written at.
TOMBSTONE_AT = "at"

_unpack = msgpack.Decoder().decode
_parse = json.Decoder().decode


class Record(Protocol):
    """What is read of a Kafka record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Letter(NamedTuple):
    """A message with its sender; an empty sender is unnumbered, an empty keeper too."""

    #: `orders/p3`, or empty.
    sender: str
    epoch: int
    number: int
    #: Keeper's number << 16 | partition, as the receiver's state names it.
    code: int
    body: bytes


def open_letter(value: bytes | None) -> Letter | None:
    """Return an internal message, its 16-byte prefix taken apart."""
    if value is None or len(value) < PREFIX_BYTES:
        return None
    kind, keeper, partition, epoch, number = _PREFIX.unpack_from(value)
    if kind == 0:
        return Letter("", 0, 0, -1, value[PREFIX_BYTES:])
    if kind != 1 or keeper not in KEEPERS:
        return None
    return Letter(
        f"{KEEPERS[keeper]}/p{partition}",
        epoch,
        number,
        keeper << 16 | partition,
        value[PREFIX_BYTES:],
    )


class Announcement(NamedTuple):
    """An operator's word that a sender's next epoch begins."""

    #: `orders/p3`.
    sender: str
    epoch: int


def open_announcement(record: Record) -> Announcement | None:
    """Return what *record* announces, as a bare prefix or as a public event; None if nothing."""
    value = record.value or b""
    if value[:1] == b"\x02" and len(value) == PREFIX_BYTES:
        _, keeper, partition, epoch, number = _PREFIX.unpack(value)
        if keeper in KEEPERS and number == 0:
            return Announcement(f"{KEEPERS[keeper]}/p{partition}", epoch)
    elif ("ce_type", b"com.orderflow.EpochAnnounced.v1") in record.headers:
        said = parse(value)
        if isinstance(said, dict) and said.get("keeper") in KEEPERS.values():
            return Announcement(f"{said['keeper']}/p{int(said['partition'])}", int(said["epoch"]))
    return None


def unpack(body: bytes) -> Any:
    """Return MessagePack as plain values, or None."""
    try:
        return _unpack(body)
    except (DecodeError, RecursionError, UnicodeError):
        return None


def tagged(body: bytes) -> tuple[str, list[Any]]:
    """Return tag and fields of a message; an empty tag where it is none of ours."""
    said = unpack(body)
    if isinstance(said, list) and said and isinstance(said[0], str):
        return said[0], said[1:]
    return "", []


class Event(NamedTuple):
    """A public event: CloudEvents headers and its JSON."""

    sender: str
    epoch: int
    number: int
    said: dict[str, Any]
    #: What is wrong with its headers, or empty.
    fault: str


def open_event(record: Record) -> Event | None:
    """Return a public event with its headers taken apart; None where either cannot be read."""
    headers = dict(record.headers)
    said = parse(record.value)
    source = _source(headers.get("ce_source", b""))
    number = _digits(headers.get("ce_sequence", b""))
    if source is None or number is None or not isinstance(said, dict):
        return None
    kind = b"com.orderflow.%s.v1" % str(said.get("event")).encode()
    fault = ""
    if headers.get("ce_type") != kind:
        fault = f"ce_type is {headers.get('ce_type')!r}, the event {said.get('event')!r}"
    elif headers.get("ce_specversion") != b"1.0":
        fault = f"ce_specversion is {headers.get('ce_specversion')!r}"
    return Event(source[0], source[1], number, said, fault)


@lru_cache(4096)
def _source(said: bytes) -> tuple[str, int] | None:
    """Take `/orderflow/<keeper>/e<epoch>/p<partition>` apart."""
    parts = said.decode("utf-8", "replace").split("/")
    if len(parts) != 5 or parts[:2] != ["", "orderflow"] or parts[2] not in KEEPERS.values():
        return None
    epoch, partition = parts[3].removeprefix("e"), parts[4].removeprefix("p")
    if not (epoch.isdigit() and partition.isdigit()):
        return None
    return f"{parts[2]}/p{int(partition)}", int(epoch)


def _digits(said: bytes) -> int | None:
    return int(said) if said.isdigit() else None


def parse(value: bytes | None) -> Any:
    """Return JSON as plain values, or None."""
    try:
        return _parse(value or b"")
    except (DecodeError, RecursionError, UnicodeError):
        return None


class Written(NamedTuple):
    """One record of a changelog."""

    position: int
    #: None is a tombstone.
    row: bytes | None


def open_row(record: Record) -> Written | None:
    """Return position and bytes of a changelog record; None where it is none of ours."""
    if record.value is None:
        at = dict(record.headers).get(TOMBSTONE_AT)
        return None if at is None else Written(int.from_bytes(at, "big"), None)
    if len(record.value) < POSITION_BYTES:
        return None
    head, row = record.value[:POSITION_BYTES], record.value[POSITION_BYTES:]
    return Written(int.from_bytes(head, "big"), row)


class State(NamedTuple):
    """What stands beside a partition's rows."""

    position: int
    rows: int
    epoch: int
    sent: dict[str, int]
    #: Sender's code -> epoch and number of the last letter received.
    got: dict[int, tuple[int, int]]
    #: Sender's code -> the last epoch that was announced.
    announced: dict[int, int]


def open_state(row: bytes) -> State | None:
    """Return a state record (its position already taken off), or None."""
    counted = _STATE_HEAD_BYTES - POSITION_BYTES
    said = unpack(row[counted:])
    if not isinstance(said, list) or len(said) != 4:
        return None
    position, epoch, sent, got = said
    if not (isinstance(sent, dict) and isinstance(got, dict)):
        return None
    rows = int.from_bytes(row[:counted], "big")
    last = {sender: (at, number) for sender, (at, number) in got.items() if sender < _ANNOUNCED}
    said_of = {code ^ _ANNOUNCED: at for code, (at, _) in got.items() if code >= _ANNOUNCED}
    return State(position, rows, epoch, sent, last, said_of)


def fingerprint(record: Record) -> int:
    """Return what tells two records apart: key, value and headers, as one number."""
    return hash((record.key, record.value, *record.headers))
