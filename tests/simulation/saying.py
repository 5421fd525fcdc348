"""
What is said in a town: by platforms, by people, and by somebody who writes junk.

A plan is a list of things to do, one after the other, made from the town's seed.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct, msgpack

from schemas.base import Source
from schemas.orders import ObserveOrder, Policy, Statement, Status
from tests.builders import HOLD_FOR, MINUTE, a_line, a_statement, hash_of, receive
from tests.simulation.house import Record
from tests.trade import LIFE, ORDERS, QUOTA, SKUS, by_hand, some_lines

if TYPE_CHECKING:
    from tests.simulation.town import Town

RAW = "raw-orders-taobao"
#: Of each SKU, where no order may ever be short of it.
AMPLE = 100_000
#: Whoever writes this writes no message of ours.
JUNK = (b"junk, and long enough to have a prefix", b"", b"\0" * 16 + b"\xc1")

Plan = Iterator[Callable[[], None]]


def hear(town: "Town", said: Statement, **policy: Any) -> None:
    """A platform speaks: now and then twice, and intake repeats itself after a crash."""
    dice, partition = town.dice, town.dice.randrange(town.partitions)
    log = town.log(RAW, partition)
    for _ in range(1 + (dice.random() < 0.15)):
        body = msgpack.encode(said)
        digest = f"{hash_of(said):016x}"
        source = Source(RAW, partition, len(log), "taobao/1", digest, town.now_ms)
        log.append(Record(len(log), town.now_ms, None, body))
        command = ObserveOrder(statement=said, policy=Policy(**policy), source=source)
        town.observed.setdefault(digest, command)
        town.tell(*[command] * (1 + (dice.random() < 0.1)))


def junk(town: "Town") -> None:
    """Somebody writes what is no message of ours into an inbox."""
    topic = town.dice.choice(("order-commands", "stock-commands"))
    town.append(topic, town.dice.randrange(town.partitions), b"junk", town.dice.choice(JUNK))


def lives(town: "Town", said: int) -> Plan:
    """Whole lives of orders, each told in any order."""
    dice = town.dice
    for sku in SKUS:
        yield lambda sku=sku: town.tell(receive(sku, AMPLE))
    told: list[Statement] = []
    for number, order in enumerate(ORDERS):
        units = {sku: dice.randint(1, 3) for sku in dice.sample(SKUS, dice.randint(1, 3))}
        lines = [a_line(sku, quantity) for sku, quantity in units.items()]
        life = [Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED][: dice.randint(1, 3)]
        if dice.random() < 0.4:
            life = [*life[:2], Status.CANCELLED]
        for at, status in enumerate(life):
            told.append(a_statement(status, *lines, order=order, at=10 * at + number))
    told *= max(1, said // len(told) // 2)
    dice.shuffle(told)
    for statement in told:
        yield lambda statement=statement: hear(town, statement)


def trade(town: "Town", said: int) -> Plan:
    """A day that nobody planned."""
    dice = town.dice
    for sku in SKUS:
        yield lambda sku=sku: town.tell(receive(sku, dice.randint(3, 20)))
    partial = dice.random() < 0.2

    def speak(step: int) -> None:
        status = dice.choice(LIFE) if dice.random() < 0.9 else Status.CANCELLED
        hear(
            town,
            a_statement(
                status, *some_lines(dice), order=dice.choice(ORDERS),
                at=step - dice.choice((0, 0, 5)),
            ),
            hold_for_ms=HOLD_FOR, partial=partial, quota=dice.choice(("", QUOTA)),
        )  # fmt: skip

    asked: list[Struct] = []

    def by_an_operator() -> None:
        # The API, or the person, may ask again, also long after the answer.
        again = asked and dice.random() < 0.2
        asked.append(dice.choice(asked) if again else by_hand(dice, town.now_ms))
        town.tell(asked[-1])

    for step in range(said):
        roll = dice.random()
        if roll < 0.6:
            yield lambda step=step: speak(step)
        elif roll < 0.9:
            yield by_an_operator
        elif roll < 0.94:
            yield lambda: junk(town)
        else:
            yield lambda: town.pass_time(dice.choice((1_000, MINUTE // 2, 16 * MINUTE)))
