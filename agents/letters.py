"""
Letters: what a keeper says, addressed, numbered and sealed.

An internal message opens with a fixed prefix, outside its MessagePack body, so that even a
letter whose body cannot be read is still counted:

    byte 0      1 = letter, 0 = unnumbered (intake, operators, the sweeper), 2 = announcement
    byte 1      number of the sending keeper
    bytes 2-3   its partition
    bytes 4-7   its epoch
    bytes 8-15  number of the letter, per (sending partition -> receiving topic partition), from 1

A public event is plain JSON with CloudEvents 1.0 headers in binary mode; its source and number
stand in `ce_source` and `ce_sequence` (and `ce_id`: the same digits, padded, so they sort as text).
A receiver accepts the next number, drops a lower one and halts at a higher one: a repeat is
harmless, a loss is never silent.

Numbers begin at 1 in each epoch of a sender. An *announcement* says that one begins: a bare prefix
with the sender, its next epoch and number 0 (on a public topic a CloudEvent, `EpochAnnounced`). It
stands on every lane before the first letter of that epoch, and then in the sender's own inbox,
where it is the command that starts it. `is_known` is the rule.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from struct import Struct as Layout
from typing import Any, NamedTuple

from msgspec import Struct, json, msgpack

from schemas.epochs import EpochAnnounced
from schemas.errors import PartitionHalted, UndecodableMessage

PREFIX = Layout(">BBHIQ")
PREFIX_BYTES = PREFIX.size
_SENDER = Layout(">BBHI")
_NUMBER = Layout(">Q").pack
UNNUMBERED = PREFIX.pack(0, 0, 0, 0, 0)
_ANNOUNCEMENT_KIND = 2
#: Marks a sender whose epoch was announced: above keeper and partition, so it never collides.
ANNOUNCED = 1 << 24
CE_TYPE = "com.orderflow.{}.v1"
CE_OPERATOR = "/orderflow/operator"
CE_CHANNELS = "/orderflow/channels"
CE_ANNOUNCED = ("ce_type", CE_TYPE.format("EpochAnnounced").encode())

#: As aiokafka takes them; one list is shared by all letters, nobody changes it.
Headers = list[tuple[str, bytes]]
NO_HEADERS: Headers = []
#: Epoch and number before the first letter of a source.
UNHEARD = (0, 0)
_pack = msgpack.Encoder().encode
_json = json.Encoder().encode


class Form(Enum):
    """How a message is written on its topic."""

    #: Prefix and MessagePack; internal.
    LETTER = "letter"
    #: CloudEvents headers and JSON; public.
    EVENT = "event"


class Route(NamedTuple):
    """Where one type of message goes. `key` says under which key it is filed."""

    topic: str
    key: Callable[[Any], bytes]
    form: Form
    #: Filed in the keeper's own partition number, because topic and inbox share key and count.
    home: bool = False
    #: An answer: filed where the letter that is answered came from, which is where its key lives.
    reply: bool = False


#: A sealed message on its way to one topic partition: key, value, headers.
Addressed = tuple[bytes | None, bytes, Headers]
#: Takes key, value and headers of a message for one lane.
Put = Callable[[bytes | None, bytes, Headers], object]


class Outbox(dict[str, Put], ABC):
    """Where sealed messages go: lane (`topic/partition`) -> what takes them, opened when needed."""

    def __missing__(self, lane: str) -> Put:
        put = self[lane] = self.begin(lane)
        return put

    @abstractmethod
    def begin(self, lane: str) -> Put:
        """Return what takes the messages of *lane*."""


class Letterbox(Outbox):
    """Keeps what is put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: dict[str, list[Addressed]] = {}

    def begin(self, lane: str) -> Put:
        """Return what appends to the list of *lane*."""
        kept = self.lanes[lane] = []
        return lambda key, value, headers: kept.append((key, value, headers))


class State(Struct, array_like=True):
    """What stands beside a partition's rows: how far it read, what it sent, what it received."""

    #: The next inbox offset to read.
    position: int = 0
    epoch: int = 0
    #: Lane (`topic/partition`) -> number of the last letter sent on it.
    sent: dict[str, int] = {}
    #: Sender (keeper and partition) -> epoch and number of the last letter received; and
    #: sender | ANNOUNCED -> the last epoch announced, 0.
    got: dict[int, tuple[int, int]] = {}


def seal(message: Struct) -> bytes:
    """Return an unnumbered internal message, as intake, operators and the sweeper send it."""
    return UNNUMBERED + _pack(message)


def unseal(value: bytes | None) -> tuple[int, int, int, bytes]:
    """
    Return (sender, epoch, number, body).

    The sender is -1 for an unnumbered message, and marked ANNOUNCED for an announcement.
    """
    if value is None or len(value) < PREFIX_BYTES:
        raise UndecodableMessage("shorter than the prefix of an internal message")
    kind, keeper, partition, epoch, number = PREFIX.unpack_from(value)
    if kind > 1:
        return _announced(value), epoch, 0, b""
    sender = (keeper << 16 | partition) if kind else -1
    return sender, epoch, number, value[PREFIX_BYTES:]


def _announced(value: bytes) -> int:
    kind, keeper, partition, _, number = PREFIX.unpack_from(value)
    if kind != _ANNOUNCEMENT_KIND:
        raise UndecodableMessage(f"the first byte is {kind}, not 0, 1 or 2")
    if len(value) != PREFIX_BYTES or number or not keeper:
        raise UndecodableMessage("an announcement is a prefix with a keeper and number 0, no more")
    sender: int = keeper << 16 | partition
    return ANNOUNCED | sender


def announcement(keeper: int, partition: int, epoch: int) -> bytes:
    """Return the internal message that says: from here on this epoch of that sender may come."""
    return PREFIX.pack(_ANNOUNCEMENT_KIND, keeper, partition, epoch, 0)


def announced_event(said: EpochAnnounced, at_ms: int) -> tuple[bytes, Headers]:
    """Return value and headers of the same announcement on a public topic."""
    return public_event(said, CE_OPERATOR, f"{said.keeper}/{said.partition}/{said.epoch}", at_ms)


def public_event(said: Struct, source: str, id_: str, at_ms: int) -> tuple[bytes, Headers]:
    """Return value and headers of an event that no keeper numbers: known by source and *id_*."""
    tag = said.__struct_config__.tag
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", CE_TYPE.format(tag).encode()),
        ("ce_source", source.encode()),
        ("content-type", b"application/json"),
        ("ce_id", id_.encode()),
        _ce_time(at_ms),
    ]
    return _json(said), headers


@lru_cache(4096)
def _lane(topic: str, partition: int) -> str:
    return f"{topic}/{partition}"


def _name(sender: int) -> str:
    return f"keeper {sender >> 16} partition {sender & 0xFFFF}"


def is_repeat(got: dict[int, tuple[int, int]], sender: int, epoch: int, number: int) -> bool:
    """
    Count a letter in *got*; say whether it was received before. Raises as `is_known` does.

    An announcement is noted in *got* and is never anything to decide: it counts as received.
    """
    last = got.get(sender, UNHEARD)
    if last == (epoch, number - 1):
        got[sender] = (epoch, number)
        return False
    if sender >= ANNOUNCED:
        if is_news(got.get(sender & ~ANNOUNCED, UNHEARD), last, epoch):
            got[sender] = (epoch, 0)
        return True
    announced, _ = got.get(sender | ANNOUNCED, UNHEARD)
    if is_known(_name(sender), last, announced, epoch, number):
        return True
    got[sender] = (epoch, number)
    return False


def is_news(last: tuple[int, int], announced: tuple[int, int], epoch: int) -> bool:
    """Say whether announcing *epoch* changes anything: it is above all that came and was said."""
    return epoch > max(last[0], announced[0])


def is_known(source: str, last: tuple[int, int], announced: int, epoch: int, number: int) -> bool:
    """
    Say whether a letter of *source* came before, given epoch and number of the *last* one.

        its epoch is     its number is             so it is
        the known one    the last one's or lower   a repeat
                         the next                  new
                         higher                    HALT: letters are lost
        lower            any                       a repeat: a writer that was stopped in an epoch
                                                   that ended; its letters all stood here before
        higher           1, its epoch announced    new, and its epoch is the known one from now on
                         anything else             HALT: the epoch is unknown, or its start lost

    *announced* is the last epoch announced. An epoch between the known and the announced one was
    announced too: a sender reaches it only by a command that stood on its lanes first. Raises
    PartitionHalted: this partition's past is not what its sender believes, and no retry mends that.
    """
    known, number_before = last
    if epoch < known:
        return True
    if epoch > known:
        if epoch > announced:
            raise PartitionHalted(f"a letter of {source} has epoch {epoch}, known is {known}")
        number_before = 0
    if number > number_before + 1:
        raise PartitionHalted(f"letters {number_before + 1}..{number - 1} of {source} are lost")
    return number <= number_before


@lru_cache(4096)
def _ce_time(at_ms: int) -> tuple[str, bytes]:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return "ce_time", at.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


class Post:
    """
    Addresses, numbers and seals what one keeper partition says.

    *routes* maps a message's type to its route; *partition_of(topic, key)* is Kafka's murmur2.
    """

    def __init__(
        self,
        keeper: str,
        number: int,
        partition: int,
        routes: Mapping[type, Route],
        partition_of: Callable[[str, bytes], int],
    ) -> None:
        self._keeper = keeper
        self._number = number
        self._partition = partition
        self._partition_of = partition_of
        self._routes = routes
        self._epoch = -1
        self._slips: dict[type, _Slip] = {}

    def address(
        self,
        said: Sequence[Struct],
        sent: dict[str, int],
        epoch: int,
        at_ms: int,
        outbox: Outbox,
        sender: int = -1,
    ) -> None:
        """
        Seal what was *said* at *at_ms* and put it into the *outbox*, counted in *sent*.

        *sender* is who sent the command that is answered, as `unseal` names it.
        """
        if epoch != self._epoch:
            self._epoch, self._slips = epoch, {}
        slips = self._slips
        for message in said:
            kind = type(message)
            slip = slips.get(kind)
            if slip is None:
                slip = slips[kind] = self._slip(kind, epoch)
            key_of, topic, reply, lane, prefix, headers = slip
            key = key_of(message)
            if lane is None:
                if reply and sender >= 0:
                    lane = _lane(topic, sender & 0xFFFF)
                else:
                    lane = f"{topic}/{self._partition_of(topic, key)}"
            number = sent[lane] = sent.get(lane, 0) + 1
            if prefix:
                outbox[lane](key, prefix + _NUMBER(number) + _pack(message), NO_HEADERS)
            else:
                sequence = b"%020d" % number
                told = [*headers, ("ce_id", sequence), ("ce_sequence", sequence), _ce_time(at_ms)]
                outbox[lane](key, _json(message), told)

    def _slip(self, kind: type, epoch: int) -> "_Slip":
        """What is the same for every message of one type, worked out once an epoch."""
        route = self._routes[kind]
        lane = f"{route.topic}/{self._partition}" if route.home else None
        if route.form is Form.LETTER:
            prefix = _SENDER.pack(1, self._number, self._partition, epoch)
            return _Slip(route.key, route.topic, route.reply, lane, prefix, [])
        tag = kind.__struct_config__.tag  # type: ignore[attr-defined]
        source = f"/orderflow/{self._keeper}/e{epoch}/p{self._partition}"
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", CE_TYPE.format(tag).encode()),
            ("ce_source", source.encode()),
            ("content-type", b"application/json"),
        ]
        return _Slip(route.key, route.topic, route.reply, lane, b"", headers)


class _Slip(NamedTuple):
    """How messages of one type are addressed."""

    key_of: Callable[[Any], bytes]
    topic: str
    reply: bool
    #: None where it depends on the message's key.
    lane: str | None
    #: Opens a letter, up to its number; empty for an event.
    prefix: bytes
    #: The headers every event of this type has.
    headers: list[tuple[str, bytes]]
