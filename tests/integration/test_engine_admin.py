"""Topics are made once, kept in line, and nothing starts beside them."""

import asyncio
import re

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from schemas.errors import BrokerUnavailable, Misconfigured
from streams.engine.admin import apply, verify
from streams.engine.serving import EXIT_MISCONFIGURED, run
from streams.settings import Settings
from streams.topics import Topic
from tests.integration import shop
from tests.integration.counting import COUNTS, TOPICS

pytestmark = pytest.mark.stack


async def test_topics_are_created_once_and_left_alone_after(topics: Settings):
    assert await apply(topics, TOPICS) == []
    assert await verify(topics, ["counts", "stock-changelog"], TOPICS) == {
        "counts": 4,
        "stock-changelog": 4,
    }


async def test_a_config_that_differs_is_altered(topics: Settings):
    other = Topic(
        name=COUNTS.name, key=COUNTS.key, config={**COUNTS.config, "retention.ms": "1000000"}
    )

    changes = await apply(topics, [other])

    assert changes == [f"altered {topics.topic('counts')}: retention.ms 604800000 -> 1000000"]
    # A broker hears of it a moment later.
    await shop.until(lambda: _nothing_to_do(topics, other))


async def _nothing_to_do(settings: Settings, topic: Topic) -> bool:
    return await apply(settings, [topic]) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"partitions": 5}, r"A partition count is for life; .* has 4 partitions, declared are 5"),
        ({"topic_prefix": "nothing-"}, r"Run `orderflow topics apply`: missing .*nothing-counts"),
        ({"kafka": "127.0.0.1:1"}, "Kafka at 127.0.0.1:1 does not answer; start it"),
    ],
)
async def test_a_worker_that_contradicts_the_broker_says_what_to_do(
    topics: Settings, change: dict[str, object], sentence: str
):
    wrong = topics.model_copy(update=change)

    with pytest.raises((Misconfigured, BrokerUnavailable)) as refused:
        await run(wrong, [shop.a_keeper()], topics=TOPICS, stop=asyncio.Event())

    assert re.search(sentence, str(refused.value))


async def test_applying_another_partition_count_is_refused(topics: Settings):
    with pytest.raises(Misconfigured, match="for life"):
        await apply(topics.model_copy(update={"partitions": 8}), TOPICS)


async def test_a_topic_nobody_declared_is_named(topics: Settings):
    with pytest.raises(Misconfigured, match="Declare ghosts"):
        await verify(topics, ["ghosts"], TOPICS)


async def test_partitions_added_under_a_running_worker_end_it(topics: Settings):
    keeper = shop.a_keeper()
    running = asyncio.ensure_future(run(topics, [keeper], topics=TOPICS, stop=asyncio.Event()))
    await shop.until(lambda: keeper.ready)
    admin = AIOKafkaAdminClient(bootstrap_servers=topics.kafka)
    await admin.start()
    await admin.create_partitions({topics.topic("counts"): NewPartitions(6)})
    await admin.close()
    # Members learn of it when they next ask for metadata: at once, instead of after minutes.
    client = keeper.consumer._thread._ensure_consumer()._client
    await keeper.consumer._thread.call_thread(client.force_metadata_update)

    code = await asyncio.wait_for(running, 20)
    await keeper.app.stop()

    assert code == EXIT_MISCONFIGURED
