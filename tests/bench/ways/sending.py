"""
A producer for peers whose every job waits for its own messages, in threads or on a loop.

Messages of jobs that run at once share batches; a future is done when all replicas have its own.
"""

import threading
from concurrent.futures import Future

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.bench.ways.deciding import Fields

_POLL_S = 0.1


class Sender:
    """One producer, and the thread that hears what the broker has acknowledged."""

    def __init__(self, kafka: str) -> None:
        self._producer = Producer(
            {"bootstrap.servers": kafka, "acks": "all", "enable.idempotence": True}
        )
        self._ended = threading.Event()
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()

    def send(self, topic: str, key: str, fields: Fields) -> Future[None]:
        """Send *fields* as JSON; the future raises KafkaException if the broker did not take it."""
        sent: Future[None] = Future()

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                sent.set_result(None)
            else:
                sent.set_exception(KafkaException(error))

        self._producer.produce(topic, orjson.dumps(fields), key, on_delivery=delivered)
        return sent

    def close(self) -> None:
        """Wait for what is on its way."""
        self._producer.flush(5)
        self._ended.set()
        self._hearing.join()

    def _hear(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(_POLL_S)
