"""
Hears every event of a topic exactly once, through crashes of its own and of everybody else's.

    python consumer.py BROKERS TOPIC DATABASE     e.g. 127.0.0.1:9092 order-events mine.sqlite

The effects of a batch, the last number of each source and the positions are one transaction in a
database of our own; on a start it is asked where to go on. See docs/subscribing.md.
"""

import sqlite3
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

brokers, topic, database = sys.argv[1:4]
mine = sqlite3.connect(database, isolation_level=None)
mine.executescript(
    "CREATE TABLE IF NOT EXISTS effects (source, sequence, about, type, data);"
    "CREATE TABLE IF NOT EXISTS sources (source PRIMARY KEY, sequence);"
    "CREATE TABLE IF NOT EXISTS positions (partition PRIMARY KEY, next);"
)
settings = {"bootstrap.servers": brokers, "group.id": "none", "enable.auto.commit": False}
consumer = Consumer(settings | {"auto.offset.reset": "error"})
parts = consumer.list_topics(topic, timeout=30).topics[topic].partitions
begun = dict(mine.execute("SELECT partition, next FROM positions"))
consumer.assign([TopicPartition(topic, part, begun.get(part, OFFSET_BEGINNING)) for part in parts])

while True:
    batch = consumer.consume(500, 1.0)
    mine.execute("BEGIN IMMEDIATE")
    for message in batch:
        if message.error():
            raise KafkaException(
                message.error()
            )  # the position is gone from the log: tell a person
        headers = {name: value.decode() for name, value in message.headers()}
        source, sequence = headers["ce_source"], int(headers.get("ce_sequence", 0))
        known = mine.execute("SELECT sequence FROM sources WHERE source = ?", [source]).fetchone()
        last = known[0] if known else 0
        if sequence > last + 1:
            sys.exit(f"events {last + 1} to {sequence - 1} of {source} are missing")  # a gap
        if sequence == last + 1:  # a lower one is a repeat; an operator's announcement has none
            effect = (source, sequence, message.key().decode(), headers["ce_type"], message.value())
            mine.execute("INSERT INTO effects VALUES (?, ?, ?, ?, ?)", effect)
            mine.execute("REPLACE INTO sources VALUES (?, ?)", [source, sequence])
        where = [message.partition(), message.offset() + 1]
        mine.execute("REPLACE INTO positions VALUES (?, ?)", where)
    mine.execute("COMMIT")  # all of it, or, where this process ends before, nothing
