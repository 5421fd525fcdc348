"""
The same job as DBOS's documentation would have it: a durable workflow for each message of Kafka.

    BENCH_ADDRESS=postgresql://… python -m tests.bench.dbos.reserve KAFKA PREFIX PARTITIONS DATADIR

`@DBOS.kafka_consumer` writes every message as a workflow into PostgreSQL, and runs it in two steps:
a transaction that checks and writes the two rows (the row lock of the SKU is what makes it safe
that workflows run in any order, as is the default), and a step that produces the answer and the
event to Kafka and waits until the broker has both. An outcome is a message, as for everybody else:
DBOS's own way to a reader outside is such a step. Its database is made here and dropped at the end.

Promise: a command changes the rows once, whatever crashes, since the transaction's result is
committed with them under the workflow's id, which is the message's offset. The answer and the
event may be sent twice: a crash between the broker's acknowledgement and the step's row repeats it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
import psycopg
from dbos import DBOS, KafkaMessage, SQLAlchemyDatasource
from sqlalchemy import text

from tests.bench.ways.deciding import Fields, decide
from tests.bench.ways.parent import end_with_parent
from tests.bench.ways.sending import Sender

#: As many connections for the transactions as DBOS takes for itself. Its queue lets all workflows
#: that wait begin at once; with the default, one that waits 30 s for a connection is given up, and
#: its command with it.
_POOL = {"pool_size": 20, "max_overflow": 0, "pool_timeout": 600}
_TABLES = """
CREATE TABLE balances (
    sku text PRIMARY KEY, available bigint NOT NULL, locked bigint NOT NULL, version bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE holds (
    sku text, "order" text, quantity bigint NOT NULL, bucket text NOT NULL, origin text NOT NULL,
    deadline_ms bigint, PRIMARY KEY (sku, "order")
);
"""
_BALANCE = text("SELECT available, locked, version FROM balances WHERE sku = :sku FOR UPDATE")
_HOLD = text('SELECT quantity FROM holds WHERE sku = :sku AND "order" = :order')
_KEEP_BALANCE = text(
    "INSERT INTO balances VALUES (:sku, :available, :locked, :version) ON CONFLICT (sku) DO UPDATE "
    "SET available = excluded.available, locked = excluded.locked, version = excluded.version"
)
_KEEP_HOLD = text(
    "INSERT INTO holds VALUES (:sku, :order, :quantity, :bucket, :origin, :deadline_ms)"
)


def declare(address: str, kafka: str, prefix: str, sender: Sender) -> None:
    """Declare the transaction, the step and the workflow."""
    stock = SQLAlchemyDatasource.create(address, engine_kwargs=_POOL)

    # The row lock is all that this transaction needs; serializable, the default, would only add
    # failures that are tried again.
    @stock.transaction(isolation_level="READ COMMITTED")
    def decided(command: Fields, at_ms: int) -> dict[str, Any]:
        session = stock.sql_session()
        sku, order = command["sku"], command.get("order")
        rows: dict[str, Fields] = {}
        if (found := session.execute(_BALANCE, {"sku": sku}).mappings().first()) is not None:
            rows[sku] = dict(found)
        if order:
            held = session.execute(_HOLD, {"sku": sku, "order": order}).mappings().first()
            if held is not None:
                rows[f"{sku}/{order}"] = dict(held)
        outcome = decide(rows, command, at_ms)
        for key, row in outcome.rows:
            if key == sku:
                session.execute(_KEEP_BALANCE, {"sku": sku, **row})
            else:
                session.execute(_KEEP_HOLD, {"sku": sku, "order": order, **row})
        return {"answer": outcome.answer, "event": outcome.event}

    @DBOS.step(retries_allowed=True)
    def tell(outcome: dict[str, Any]) -> None:
        sent = []
        if (event := outcome["event"]) is not None:
            sent.append(sender.send(f"{prefix}stock-events", event["sku"], event))
        if (said := outcome["answer"]) is not None:
            sent.append(sender.send(f"{prefix}order-commands", said["order"], said))
        for each in sent:
            each.result()

    @DBOS.kafka_consumer(
        {"bootstrap.servers": kafka, "group.id": f"{prefix}dbos"}, [f"{prefix}stock-commands"]
    )
    @DBOS.workflow()
    def reserve(message: KafkaMessage) -> None:
        _, at_ms = message.timestamp
        tell(decided(orjson.loads(message.value or b""), at_ms))


@contextmanager
def database(owner: str, name: str) -> Iterator[str]:
    """Make the database *name*, and drop it afterwards."""
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    address = urlunsplit(urlsplit(owner)._replace(path=f"/{name}"))
    try:
        with psycopg.connect(address) as connection:
            connection.execute(_TABLES)
        yield address
    finally:
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def run(address: str, kafka: str, prefix: str, ended: Callable[[], object]) -> None:
    """Work until *ended* returns."""
    sender = Sender(kafka)
    DBOS(
        config={
            "name": "stock",
            "system_database_url": address,
            "db_engine_kwargs": _POOL,
            "log_level": "WARNING",
        }
    )
    declare(address, kafka, prefix, sender)
    DBOS.launch()
    try:
        ended()
    finally:
        DBOS.destroy()
        sender.close()


def main() -> None:
    """Run until SIGTERM."""
    kafka, prefix, *_ = sys.argv[1:]
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    end_with_parent(signal.SIGTERM)
    name = f"orderflow_{prefix}dbos".replace("-", "_")
    with database(os.environ["BENCH_ADDRESS"], name) as address:
        run(address, kafka, prefix, told.wait)
    # Workflows at work try again for ever now, in threads that Python would wait for.
    os._exit(0)


if __name__ == "__main__":
    main()
