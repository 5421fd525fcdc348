"""
The stampede: 5,000 orders for the last 100 units of a SKU, five times, while workers are killed.

Four workers with both keepers; each time two of them die by `kill -9` in the middle. What counts is
what a subscriber of the public events can know: one verdict an order, 100 times yes, 4,900 times
no, and 100 units locked. Replay a run with `ORDERFLOW_TEST_SEED=<seed>`.
"""

import asyncio
import json
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Self

import aiokafka
import pytest
from aiokafka import TopicPartition
from msgspec import structs

from agents.letters import seal
from schemas.orders import ObserveOrder, Policy
from streams.bench.open_orders import observations
from streams.engine.partitions import partitioner
from streams.topics import ORDER_COMMANDS, ORDER_EVENTS, STOCK_EVENTS
from tables import orders
from tests.installation import Installation, Workers, installation

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

TIMES = 5
STOCK, ORDERS = 100, 5_000
KILLS = 2
#: No verdict for so long: the others are not coming.
QUIET_S = 60.0
HOUR_MS = 3_600_000


def the_last(nth: int) -> str:
    return f"LAST-{nth}"


async def place(house: Installation, nth: int) -> None:
    """Put one stampede into the order keeper's inbox, as intake would."""
    (template,) = [orders.TABLE.decode_command(body) for body in observations(1)]
    line = structs.replace(template.statement.lines[0], quantity=1, sku=the_last(nth))
    partition_of = partitioner({ORDER_COMMANDS.name: house.settings.partitions})
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=house.settings.kafka, acks="all")
    async with producer:
        for number in range(ORDERS):
            said = structs.replace(
                template.statement, order_id=f"{nth}-{number:06d}", lines=(line,)
            )
            order = ObserveOrder(
                statement=said, policy=Policy(hold_for_ms=HOUR_MS), source=template.source
            )
            await producer.send(
                house.settings.topic(ORDER_COMMANDS.name),
                seal(order),
                key=said.key.encode(),
                partition=partition_of(ORDER_COMMANDS.name, said.key.encode()),
            )


class Subscriber:
    """Reads a public topic from the beginning, and counts every event once."""

    def __init__(self, house: Installation, topic: str) -> None:
        self.name = house.settings.topic(topic)
        self.partitions = house.settings.partitions
        self.consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=house.settings.kafka, auto_offset_reset="earliest"
        )
        self.seen: set[tuple[bytes, bytes]] = set()

    async def __aenter__(self) -> Self:
        await self.consumer.start()
        self.consumer.assign([TopicPartition(self.name, p) for p in range(self.partitions)])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.consumer.stop()

    async def new(self) -> list[dict[str, object]]:
        found = []
        for records in (await self.consumer.getmany(timeout_ms=500)).values():
            for record in records:
                said = dict(record.headers)
                one = (said["ce_source"], said["ce_sequence"])
                if one not in self.seen:
                    self.seen.add(one)
                    found.append(json.loads(record.value))
        return found


async def kill_some(workers: Workers, dice: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(0.2 + dice.random())
        os.kill(dice.choice(workers.pids()), signal.SIGKILL)


async def decided(subscriber: Subscriber, verdicts: Counter[tuple[str, str]], orders_: int) -> None:
    """Count verdicts by (order, event) until so many orders have theirs."""
    clock = asyncio.get_running_loop().time
    heard = clock()
    while len({order for order, _ in verdicts}) < orders_:
        for event in await subscriber.new():
            if event["event"] in ("order.reserved", "order.short"):
                verdicts[str(event["order"]), str(event["event"])] += 1
                heard = clock()
        assert clock() - heard < QUIET_S, f"only {len(verdicts)} of {orders_} have a verdict"


async def balances(house: Installation) -> dict[object, dict[str, object]]:
    newest: dict[object, dict[str, object]] = {}
    async with Subscriber(house, STOCK_EVENTS.name) as subscriber:
        while found := await subscriber.new():
            newest |= {event["sku"]: event for event in found if event["event"] == "stock.moved"}
    return newest


async def test_a_hundred_units_are_sold_a_hundred_times_in_five_stampedes(tmp_path: Path) -> None:
    """T01, T02: however many ask at once, and whoever dies meanwhile."""
    seed = int(os.environ.get("ORDERFLOW_TEST_SEED") or random.randrange(1 << 30))
    print(f"seed {seed}")
    dice = random.Random(seed)
    verdicts: Counter[tuple[str, str]] = Counter()
    async with installation(tmp_path) as house:
        with house.running("orders,stock,intake", slots=4) as workers:
            for nth in range(TIMES):
                house.orderflow(
                    "stock", "receive", the_last(nth), str(STOCK), "--reason", "the last ones"
                )
            async with Subscriber(house, ORDER_EVENTS.name) as subscriber:
                for nth in range(TIMES):
                    placing = asyncio.create_task(place(house, nth))
                    killing = asyncio.create_task(kill_some(workers, dice))
                    await decided(subscriber, verdicts, (nth + 1) * ORDERS)
                    await asyncio.gather(placing, killing)
        newest = await balances(house)

    assert set(verdicts.values()) == {1}, f"seed {seed}: a verdict was told twice"
    assert len({order for order, _ in verdicts}) == len(verdicts), f"seed {seed}: yes and no"
    for nth in range(TIMES):
        said = Counter(event for order, event in verdicts if f":{nth}-" in order)
        assert said == {"order.reserved": STOCK, "order.short": ORDERS - STOCK}, f"seed {seed}"
        balance = newest[the_last(nth)]
        assert (balance["available"], balance["locked"]) == (0, STOCK), f"seed {seed}: {balance}"
