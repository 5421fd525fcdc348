"""
Starting a new epoch of a keeper's letters: found out, announced, begun. An operator's act.

The order is the whole safety of it. First every lane the keeper sends on gets its announcement,
and the broker has them all; only then the keeper's own inboxes get theirs, which is the command
that begins the epoch. So no receiver meets a letter of an epoch it was not told of, wherever the
command dies; and because an announcement that is not news changes nothing, the same epoch may be
announced again until it is whole.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import aiokafka
from aiokafka.errors import KafkaConnectionError, KafkaError
from msgspec import DecodeError

from agents.frames import POSITION_BYTES
from agents.letters import ANNOUNCED, Form, Headers, State, announced_event, announcement
from schemas.epochs import EPOCH_MAX, EpochAnnounced
from schemas.errors import BrokerUnavailable, Misconfigured, Rejected
from streams.check.reading import Reader
from streams.clock import now_ms
from streams.engine.admin import verify
from streams.engine.store import STATE_KEY, read_state
from streams.settings import Settings, kafka_is_silent
from streams.topics import changelog
from streams.topology import LISTENERS, ROUTES, Listener

#: Keepers by name, in the order of the flow.
KEEPERS: dict[str, Listener] = {
    name: listener for name, listener in LISTENERS.items() if listener.owns
}


class BadEpoch(Rejected):
    """The epoch cannot be started."""


class Standing(NamedTuple):
    """What the changelogs say of the epochs of one keeper's partition."""

    #: The epoch its own state is in.
    present: int = 0
    #: The greatest epoch in which another keeper has a letter of it.
    heard: int = 0
    #: The greatest epoch that was announced to another keeper.
    announced: int = 0


Standings = dict[str, list[Standing]]

#: Topic, partition, key, value, headers.
_Message = tuple[str, int, bytes, bytes, Headers]


class Wish(NamedTuple):
    """Whose epoch is to start, which one (the next, where none is named), why and by whom."""

    keeper: str
    epoch: int | None
    reason: str
    operator: str


class Started(NamedTuple):
    """What a start has come to."""

    keeper: str
    epoch: int
    partitions: int
    #: Announcements to the receivers, before those to the keeper itself.
    announcements: int


# --- looking --------------------------------------------------------------------------------------


class _States:
    """Takes changelog records; keeps the newest state of every partition."""

    def __init__(self) -> None:
        self.newest: dict[tuple[str, int], bytes] = {}

    def take(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        place = topic, partition
        for record in records:
            if record.key != STATE_KEY or record.value is None:
                continue
            known = self.newest.get(place, b"")
            if record.value[:POSITION_BYTES] >= known[:POSITION_BYTES]:
                self.newest[place] = record.value


async def standings(settings: Settings) -> Standings:
    """
    Read the changelogs; return for every keeper where each of its partitions stands.

    Raises BrokerUnavailable, Misconfigured.
    """
    names = {keeper: changelog(keeper).name for keeper in KEEPERS}
    found = _States()
    async with Reader(settings, names.values()) as reader:
        await reader.read(names.values(), found)
        counts = {
            keeper: sum(topic == name for topic, _ in reader.ends) for keeper, name in names.items()
        }
    states = {
        keeper: [
            _state(name, partition, found.newest.get((name, partition)))
            for partition in range(counts[keeper])
        ]
        for keeper, name in names.items()
    }
    return compared(states)


def _state(topic: str, partition: int, record: bytes | None) -> State:
    try:
        return State() if record is None else read_state(record)
    except DecodeError as error:
        raise Misconfigured(
            f"The state in {topic}/{partition} cannot be read ({error}): see the runbook, "
            "A partition is halted."
        ) from error


def compared(states: Mapping[str, Sequence[State]]) -> Standings:
    """Return where the keepers with these *states* stand, by what all of them know."""
    got = [state.got for each in states.values() for state in each]

    def last(sender: int) -> int:
        return max((epochs[sender][0] for epochs in got if sender in epochs), default=0)

    return {
        keeper: [
            Standing(state.epoch, last(sender), last(sender | ANNOUNCED))
            for partition, state in enumerate(each)
            for sender in (_number(keeper) << 16 | partition,)
        ]
        for keeper, each in states.items()
    }


def _number(keeper: str) -> int:
    table = KEEPERS[keeper].owns
    if table is None:
        raise AssertionError(f"{keeper} owns no table")
    return table.number


def chosen(keeper: str, stand: Sequence[Standing], epoch: int | None) -> int:
    """
    Return the epoch to start: *epoch*, or one more than the greatest found.

    A start that was cut short may be repeated with its epoch. Raises BadEpoch.
    """
    if epoch is None:
        return max(max(each) for each in stand) + 1
    greatest = max(each.present for each in stand)
    if not 0 < epoch <= EPOCH_MAX:
        raise BadEpoch(f"Epoch {epoch} is not between 1 and {EPOCH_MAX}.")
    left = [each for each in stand if each.present < epoch]
    if not left or epoch < greatest:
        raise BadEpoch(
            f"Epoch {epoch} of {keeper} is not above the present one, {greatest}; "
            "leave --epoch out to take the next."
        )
    if (heard := max(each.heard for each in left)) >= epoch:
        # Its letters would be dropped as repeats of those, in silence.
        raise BadEpoch(
            f"Letters of {keeper} in epoch {heard} were received already; give an epoch above it, "
            "or leave --epoch out."
        )
    return epoch


# --- announcing -----------------------------------------------------------------------------------


def to_receivers(
    keeper: str, epoch: int, counts: Mapping[str, int], at_ms: int
) -> Iterator[_Message]:
    """Yield the announcements on every lane that *keeper* sends on."""
    listener, number = KEEPERS[keeper], _number(keeper)
    partitions = counts[listener.reads[0].name]
    writes = [topic.name for topic in listener.writes]
    for topic in writes:
        routes = [route for route in ROUTES.values() if route.topic == topic]
        home = all(route.home for route in routes)
        public = any(route.form is Form.EVENT for route in routes)
        for partition in range(partitions):
            key = f"{keeper}/{partition}/{epoch}".encode()
            if public:
                said = EpochAnnounced(keeper=keeper, partition=partition, epoch=epoch)
                value, headers = announced_event(said, at_ms)
            else:
                value, headers = announcement(number, partition, epoch), []
            for to in (partition,) if home else range(counts[topic]):
                yield topic, to, key, value, headers


def to_itself(
    keeper: str, epoch: int, partitions: int, reason: str, operator: str
) -> Iterator[_Message]:
    """Yield the commands that begin the epoch; why and who stay in the log beside them."""
    inbox, number = KEEPERS[keeper].reads[0].name, _number(keeper)
    headers = [("reason", reason.encode()), ("operator", operator.encode())]
    for partition in range(partitions):
        key = f"{keeper}/{partition}/{epoch}".encode()
        yield inbox, partition, key, announcement(number, partition, epoch), headers


def wished(keeper: str, epoch: int | None, reason: str, operator: str) -> Wish:
    """Return the wish, or raise BadEpoch where it could not be granted anywhere."""
    if keeper not in KEEPERS:
        raise BadEpoch(f"There is no keeper {keeper}; choose from {', '.join(KEEPERS)}.")
    if not (reason.strip() and operator.strip()):
        raise BadEpoch("Say why with --reason, and who with --operator: they stay in the log.")
    return Wish(keeper, epoch, reason.strip(), operator.strip())


async def start(settings: Settings, wish: Wish) -> Started:
    """
    Announce the epoch of *wish* to all who hear its keeper, then to the keeper itself.

    Raises BadEpoch, BrokerUnavailable, Misconfigured. After BrokerUnavailable it may be repeated.
    """
    keeper, epoch, reason, operator = wish
    listener = KEEPERS[keeper]
    inbox = listener.reads[0].name
    counts = await verify(settings, [inbox, *(topic.name for topic in listener.writes)])
    number = chosen(keeper, (await standings(settings))[keeper], epoch)
    receivers = list(to_receivers(keeper, number, counts, now_ms()))
    own = list(to_itself(keeper, number, counts[inbox], reason, operator))
    try:
        await _send(settings, receivers, own)
    except KafkaConnectionError as error:
        raise kafka_is_silent(settings) from error
    except KafkaError as error:
        raise BrokerUnavailable(
            f"Kafka at {settings.kafka}: {error!r}; repeat the start with --epoch {number}."
        ) from error
    return Started(keeper, number, counts[inbox], len(receivers))


async def _send(settings: Settings, *steps: Sequence[_Message]) -> None:
    """Send step after step; the broker has all of one before the next begins."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=settings.kafka, acks="all", enable_idempotence=True, linger_ms=5
    )
    try:
        await producer.start()
        for messages in steps:
            sent = [
                await producer.send(
                    settings.topic(topic), value, key, partition=partition, headers=headers
                )
                for topic, partition, key, value, headers in messages
            ]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()
