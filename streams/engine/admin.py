"""
Topics on the broker: made, brought in line, and checked against their one declaration.

Promise: `apply` may run at any time and twice; it never changes a partition count, because that
would send a key to another partition than its rows. `verify` lets nothing start that contradicts.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code

from schemas.errors import BrokerUnavailable, Misconfigured
from streams.settings import Settings, kafka_is_silent
from streams.topics import TOPICS, Topic

#: A topic that was created has its leaders within this.
VISIBLE_WITHIN_S = 15.0


async def apply(settings: Settings, topics: Sequence[Topic] = TOPICS) -> list[str]:
    """Create what is missing, alter what differs; return one line per change."""
    admin = await _connect(settings)
    try:
        there = await _partitions(admin, [settings.topic(topic.name) for topic in topics])
        _refuse_contradictions(settings, topics, there)
        missing = [topic for topic in topics if settings.topic(topic.name) not in there]
        present = [topic for topic in topics if settings.topic(topic.name) in there]
        created = await _create(admin, settings, missing)
        return created + await _alter(admin, settings, present)
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.kafka} refused: {error!r}") from error
    finally:
        await admin.close()


async def verify(
    settings: Settings, names: Collection[str], topics: Sequence[Topic] = TOPICS
) -> dict[str, int]:
    """
    Return the partition count of each of *names*.

    Raises Misconfigured, saying what to do, where a topic is missing or has another count.
    """
    declared = {topic.name: topic for topic in topics}
    if unknown := sorted(set(names) - declared.keys()):
        raise Misconfigured(f"Declare {', '.join(unknown)} in streams/topics.py.")
    wanted = [declared[name] for name in names]
    admin = await _connect(settings)
    try:
        there = await _partitions(admin, [settings.topic(name) for name in names])
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.kafka} refused: {error!r}") from error
    finally:
        await admin.close()
    missing = [settings.topic(name) for name in names if settings.topic(name) not in there]
    if missing:
        raise Misconfigured(
            f"Run `orderflow topics apply`: missing on the broker: {', '.join(sorted(missing))}."
        )
    _refuse_contradictions(settings, wanted, there)
    return {name: there[settings.topic(name)] for name in names}


def count_of(settings: Settings, topic: Topic) -> int:
    """Return how many partitions *topic* is declared to have."""
    return topic.partitions or settings.partitions


def _refuse_contradictions(
    settings: Settings, topics: Iterable[Topic], there: Mapping[str, int]
) -> None:
    wrong = [
        f"{name} has {there[name]} partitions, declared are {count_of(settings, topic)}"
        for topic in topics
        if (name := settings.topic(topic.name)) in there
        and there[name] != count_of(settings, topic)
    ]
    if wrong:
        raise Misconfigured(
            "A partition count is for life; set ORDERFLOW_PARTITIONS to what the topics have, or "
            f"choose another ORDERFLOW_TOPIC_PREFIX: {'; '.join(wrong)}."
        )


async def _connect(settings: Settings) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka, request_timeout_ms=20_000)
    try:
        await admin.start()
    except KafkaConnectionError as error:
        raise kafka_is_silent(settings) from error
    return admin


async def _partitions(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    described = await admin.describe_topics(list(names))
    return {
        topic["topic"]: len(topic["partitions"]) for topic in described if topic["error_code"] == 0
    }


async def _create(
    admin: AIOKafkaAdminClient, settings: Settings, topics: Sequence[Topic]
) -> list[str]:
    if not topics:
        return []
    new = [
        NewTopic(
            settings.topic(topic.name),
            count_of(settings, topic),
            settings.replication,
            topic_configs=config_of(settings, topic),
        )
        for topic in topics
    ]
    response = await admin.create_topics(new, timeout_ms=20_000)
    for name, code, *why in response.topic_errors:
        error = for_code(code)
        if code and error.__name__ != "TopicAlreadyExistsError":
            raise Misconfigured(f"Kafka did not create {name}: {error.__name__} {why}")
    await _until_led(admin, [topic.name for topic in new])
    return [f"created {topic.name} ({topic.num_partitions} partitions)" for topic in new]


async def _until_led(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait until new topics have leaders: a broker hears of them a little later."""
    deadline = time.monotonic() + VISIBLE_WITHIN_S
    while True:
        described = await admin.describe_topics(list(names))
        led = all(
            topic["error_code"] == 0 and all(p["leader"] >= 0 for p in topic["partitions"])
            for topic in described
        )
        if led and len(described) == len(names):
            return
        if time.monotonic() > deadline:
            raise BrokerUnavailable(f"new topics have no leader after {VISIBLE_WITHIN_S:.0f} s")
        await asyncio.sleep(0.05)


async def _alter(
    admin: AIOKafkaAdminClient, settings: Settings, topics: Sequence[Topic]
) -> list[str]:
    if not topics:
        return []
    now = await _configs(admin, [settings.topic(topic.name) for topic in topics])
    changes, resources = [], []
    for topic in topics:
        name, declared = settings.topic(topic.name), config_of(settings, topic)
        different = {k: v for k, v in declared.items() if now[name].get(k) != v}
        if different:
            resources.append(ConfigResource(ConfigResourceType.TOPIC, name, configs=declared))
            changes += [
                f"altered {name}: {k} {now[name].get(k)} -> {v}" for k, v in different.items()
            ]
    if resources:
        for response in await admin.alter_configs(resources):
            for code, why, *_ in response.resources:
                if code:
                    raise Misconfigured(
                        f"Kafka did not alter a topic: {for_code(code).__name__} {why}"
                    )
    return changes


async def _configs(
    admin: AIOKafkaAdminClient, names: Sequence[str]
) -> dict[str, dict[str, str | None]]:
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str | None]] = {}
    for response in await admin.describe_configs(asked):
        for _, _, _, name, entries in response.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def config_of(settings: Settings, topic: Topic) -> dict[str, str]:
    """Return the configuration that *topic* must have on this installation's broker."""
    config = dict(topic.config)
    if settings.replication >= 3:
        config.setdefault("min.insync.replicas", "2")
    return config
