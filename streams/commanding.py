"""
Operators' commands: sent once, answered once.

A command goes to `operator-commands` with an id that carries its time; the keeper of its SKU or its
order answers with an event on `stock-events` or `order-events`, which is what is waited for: no
database stands between. The same id asked again gets the same answer and moves nothing.
"""

import asyncio
import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiokafka
from aiokafka.errors import KafkaConnectionError, KafkaError
from msgspec import ValidationError, json, msgpack

from agents.letters import CE_TYPE, seal
from schemas.errors import BrokerUnavailable, MalformedPayload, Rejected, Unavailable
from schemas.orders import OperatorOrderCommand, OrderCommandAnswered
from schemas.stock import OperatorStockCommand, ReceiveStock, StockCommandAnswered
from streams import topics
from streams.clock import new_id, now_ms
from streams.engine.admin import verify
from streams.engine.partitions import partitioner
from streams.settings import Settings, kafka_is_silent
from tables.answers import asked_at

OperatorCommand = OperatorStockCommand | OperatorOrderCommand
Answered = StockCommandAnswered | OrderCommandAnswered
Answers = dict[str, Any]

_ANSWERED = frozenset(
    ("ce_type", CE_TYPE.format(event).encode()) for event in ("stock.answered", "order.answered")
)
_decode = json.Decoder(Answered).decode
_POLL_MS = 200
_check = msgpack.Decoder(OperatorCommand).decode


class NoAnswer(Unavailable):
    """Nobody answered in time."""


class BadCommand(Rejected):
    """The command cannot be sent as it is."""


def command(kind: type[Any], **fields: Any) -> Any:
    """Return a command of *kind* with its fields checked; raises BadCommand naming the field."""
    try:
        asked_at(fields["id"], now_ms())
        made: OperatorCommand = _check(msgpack.encode(kind(**fields)))
    except ValidationError as error:
        raise BadCommand(_what_is_wrong(str(error), kind, fields)) from error
    except MalformedPayload as error:
        raise BadCommand(f"{error}.") from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise BadCommand(_what_cannot_be_written(fields)) from error
    return made


def _what_cannot_be_written(fields: dict[str, Any]) -> str:
    """Return a sentence about the field that has no bytes, such as half a character."""
    for name, value in fields.items():
        try:
            msgpack.encode(value)
        except OverflowError:
            return f"{name}: the number is too large; it is {value!r}."
        except UnicodeEncodeError:
            return f"{name}: the text is not UTF-8; it is {value!r}."
    return "The command cannot be written."


def _what_is_wrong(said: str, kind: type[Any], fields: dict[str, Any]) -> str:
    """Return msgspec's words about the n-th element as a sentence about the field."""
    expected, _, where = said.partition(" - at ")
    met = re.search(r"\[(\d+)\]", where)
    names = dict(enumerate(kind.__struct_fields__, start=1))
    name = names.get(int(met[1]), "command") if met else "command"
    return f"{name}: {expected[0].lower()}{expected[1:]}; it is {fields.get(name)!r}."


async def ask(
    settings: Settings,
    commands: Sequence[OperatorCommand],
    within_s: float | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Answers:
    """
    Send *commands*, all about stock or all about orders; return the answer to each by its id.

    Waits *within_s* seconds, or ORDERFLOW_ANSWER_WITHIN where that is None.

    Raises NoAnswer when not all are answered in time: what was sent stays sent, and asking again
    with the same id is safe. Raises BrokerUnavailable, Misconfigured.
    """
    about_orders = any(isinstance(each, OperatorOrderCommand) for each in commands)
    events = (topics.ORDER_EVENTS if about_orders else topics.STOCK_EVENTS).name
    counts = await verify(settings, [topics.OPERATOR_COMMANDS.name, events])
    listener = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, enable_auto_commit=False, fetch_max_wait_ms=50
    )
    try:
        await listener.start()
        await _go_to_the_end(listener, settings.topic(events), counts[events])
        await _send(settings, commands, counts)
        wait_s = settings.answer_within.total_seconds() if within_s is None else within_s
        return await _answers(listener, {each.id for each in commands}, wait_s, progress)
    except KafkaConnectionError as error:
        raise kafka_is_silent(settings) from error
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.kafka}: {error!r}") from error
    finally:
        await listener.stop()


async def _go_to_the_end(listener: Any, topic: str, partitions: int) -> None:
    """Let it stand at the end of *topic*, before anything is asked."""
    places = [aiokafka.TopicPartition(topic, number) for number in range(partitions)]
    listener.assign(places)
    await listener.seek_to_end(*places)
    for place in places:
        await listener.position(place)


async def _send(
    settings: Settings, commands: Sequence[OperatorCommand], counts: dict[str, int]
) -> None:
    topic = topics.OPERATOR_COMMANDS.name
    partition_of = partitioner(counts)
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=settings.kafka, acks="all", enable_idempotence=True, linger_ms=5
    )
    try:
        await producer.start()
        acknowledgements = []
        for each in commands:
            about = each.order if isinstance(each, OperatorOrderCommand) else each.sku
            key = about.encode()
            acknowledgements.append(
                await producer.send(
                    settings.topic(topic), seal(each), key, partition_of(topic, key)
                )
            )
        await asyncio.gather(*acknowledgements)
    finally:
        await producer.stop()


async def _answers(
    listener: Any, ids: set[str], within_s: float, progress: Callable[[int], None]
) -> Answers:
    answers: Answers = {}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while len(answers) < len(ids):
        if loop.time() > deadline:
            missing = sorted(ids - answers.keys())
            raise NoAnswer(
                f"{len(missing)} of {len(ids)} commands were not answered within {within_s:g} s; "
                "is a worker with the roles intake, orders and stock running? Ask again with "
                f"--id {missing[0]}: the same id is never done twice."
            )
        for records in (await listener.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                if not _ANSWERED.isdisjoint(record.headers):
                    found = _decode(record.value)
                    if found.command in ids:
                        answers[found.command] = found
        progress(len(answers))
    return answers


def receipts(file: Path, reason: str, operator: str) -> list[OperatorStockCommand]:
    """
    Return one ReceiveStock per row of a CSV file with the columns `sku` and `quantity`.

    Nothing is sent unless every row is good: raises BadCommand naming line and field.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened)
            missing = {"sku", "quantity"} - set(reader.fieldnames or ())
            if missing:
                raise BadCommand(
                    f"{file}: the first line has to name the columns sku and quantity; "
                    f"missing: {', '.join(sorted(missing))}."
                )
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise BadCommand(f"{file}: {error.strerror}.") from error
    except (UnicodeError, csv.Error) as error:
        raise BadCommand(f"{file}: not a CSV file in UTF-8: {error}.") from error
    if not rows:
        raise BadCommand(f"{file}: there is no row below the header.")
    return [_receipt(file, line, row, reason, operator) for line, row in rows]


def _receipt(
    file: Path, line: int, row: dict[str, Any], reason: str, operator: str
) -> OperatorStockCommand:
    said = (row["quantity"] or "").strip()
    if not said.isascii() or not said.isdigit():
        raise BadCommand(f"{file}, line {line}, quantity: {said!r} is not a whole number above 0.")
    try:
        made: OperatorStockCommand = command(
            ReceiveStock,
            id=new_id(),
            sku=(row["sku"] or "").strip(),
            quantity=int(said),
            reason=(row.get("reason") or "").strip() or reason,
            operator=operator,
        )
    except BadCommand as error:
        raise BadCommand(f"{file}, line {line}, {error}") from error
    return made
