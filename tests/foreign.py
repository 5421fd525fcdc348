"""
Clients that the product does not use, looking at what is really on the topics.

confluent-kafka reads them here; `Subscriber` is the example that docs/subscribing.md gives to
others, as a process that can be killed.
"""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from tests.integration.databases import ROOT

CONSUMER = ROOT / "docs" / "examples" / "consumer.py"
#: A broker under load answers within this, s.
ANSWERS_WITHIN_S = 60


class Told(NamedTuple):
    """One event as a foreign client sees it."""

    partition: int
    offset: int
    key: str
    headers: dict[str, str]
    value: bytes

    @property
    def name(self) -> tuple[str, int]:
        """Source and sequence: no two events have the same; an announcement has no number."""
        return self.headers["ce_source"], int(self.headers.get("ce_sequence", 0))


def told(brokers: str, topic: str) -> list[Told]:
    """Return everything that stands on *topic* now."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "foreign"})
    try:
        parts = consumer.list_topics(topic, timeout=ANSWERS_WITHIN_S).topics[topic].partitions
        marks = {
            part: consumer.get_watermark_offsets(
                TopicPartition(topic, part), timeout=ANSWERS_WITHIN_S
            )
            for part in parts
        }
        consumer.assign([TopicPartition(topic, part, low) for part, (low, _) in marks.items()])
        left = sum(high - low for low, high in marks.values())
        return [_read(consumer) for _ in range(left)]
    finally:
        consumer.close()


def _read(consumer: Consumer) -> Told:
    message = consumer.poll(ANSWERS_WITHIN_S)
    assert message is not None, "the broker brings nothing"
    assert message.error() is None, message.error()
    headers = {name: value.decode() for name, value in message.headers()}
    key = message.key().decode()
    return Told(message.partition(), message.offset(), key, headers, message.value())


class Subscriber:
    """docs/examples/consumer.py at work: killed when it is told to be, and started again."""

    def __init__(self, brokers: str, topic: str, folder: Path) -> None:
        self._database = folder / f"{topic}.sqlite"
        self._log_file = folder / "subscriber.log"
        self._log = self._log_file.open("ab")
        self._command = [sys.executable, str(CONSUMER), brokers, topic, str(self._database)]
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Begin, or go on."""
        self.starts += 1
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        """End it by SIGKILL, wherever it is, and begin again."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End it by SIGKILL, wherever it is."""
        self._process.kill()
        self._process.wait()

    def forget(self, event: "Told") -> None:
        """Let it be, while it is stopped, as if *event* were next and the one before never came."""
        source, number = event.name
        connection = sqlite3.connect(self._database, timeout=30)
        with connection:
            connection.execute(
                "UPDATE sources SET sequence = ? WHERE source = ?", [number - 2, source]
            )
            where = [event.offset, event.partition]
            connection.execute("UPDATE positions SET next = ? WHERE partition = ?", where)
        connection.close()

    def last_words(self) -> str:
        """Wait until it ends by itself; return what it says then."""
        self._process.wait(ANSWERS_WITHIN_S)
        return self._log_file.read_text(encoding="utf-8")

    def revive(self) -> None:
        """Begin again where it ended by itself, as a supervisor would."""
        if self._process.poll() is not None:
            self.start()

    def effects(self) -> list[tuple[Any, ...]]:
        """Return what it has done: source, sequence, key, type, data."""
        return self._query("SELECT * FROM effects")

    def read_to(self, ends: dict[int, int], within_s: float) -> bool:
        """Wait until it has read each partition to its end; False when it does not."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            self.revive()
            if dict(self._query("SELECT partition, next FROM positions")) == ends:
                return True
            time.sleep(0.2)
        return False

    def _query(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self._database, timeout=30)
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []  # it has not made its tables yet
        finally:
            connection.close()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._log.close()


@contextmanager
def subscribed(brokers: str, topic: str, folder: Path) -> Iterator[Subscriber]:
    """Let the example hear *topic* meanwhile."""
    subscriber = Subscriber(brokers, topic, folder)
    try:
        yield subscriber
    finally:
        subscriber.close()


def judge(subscriber: Subscriber, events: list[Told], within_s: float = 60) -> None:
    """Assert that the subscriber has done exactly what *events* tell, each once, none left out."""
    ends: dict[int, int] = {}
    once: dict[tuple[str, int], bytes] = {}
    for event in events:
        ends[event.partition] = event.offset + 1
        if event.name[1]:
            once.setdefault(event.name, event.value)
    assert subscriber.read_to(ends, within_s), "the subscriber does not come to the end"
    effects = subscriber.effects()
    done = {(source, number): data for source, number, _, _, data in effects}
    assert len(effects) == len(done), "an event had its effect twice"
    assert done == once
