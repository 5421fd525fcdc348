"""
The job as Quix Streams' documentation writes it: one application, a stateful function, two topics.

    python -m tests.bench.ways.quix GUARANTEE KAFKA PREFIX PARTITIONS DATADIR

State is Quix's own: RocksDB on disk with a changelog topic, under the message's key. A checkpoint a
second instead of every 5, so that several are in the figure; `acks=all`. At least once: what was
done since the last checkpoint is done again after a crash, and its answers and events are repeated
(its changes of state are not: they are kept by the checkpoint). With exactly once the outputs,
state and offsets of a checkpoint are one Kafka transaction.
"""

import sys
from collections.abc import Iterator
from typing import Any

from quixstreams import Application, State

from tests.bench.ways.deciding import Fields, decide

_CHECKPOINT_S = 1.0


class Rows(dict[str, Fields]):
    """The rows of one SKU as the decision wants them, kept in Quix's state."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state

    def get(self, key: str, default: Any = None) -> Any:
        """Return a row."""
        return self._state.get(key, default)

    def __contains__(self, key: object) -> bool:
        return self._state.exists(key)

    def __setitem__(self, key: str, row: Fields) -> None:
        self._state.set(key, row)


def keep_stock(
    command: Fields, _key: Any, at_ms: int, _headers: Any, state: State
) -> Iterator[tuple[str, Fields]]:
    """Decide one command; yield what goes out, with where it goes."""
    decided = decide(Rows(state), command, at_ms)
    if decided.event:
        yield "event", decided.event
    if decided.answer:
        yield "answer", decided.answer


def main() -> None:
    """Run the application."""
    guarantee, kafka, prefix, _, datadir = sys.argv[1:]
    app = Application(
        broker_address=kafka,
        consumer_group=f"{prefix}quix",
        auto_offset_reset="earliest",
        state_dir=datadir,
        processing_guarantee=guarantee,
        commit_interval=_CHECKPOINT_S,
        producer_extra_config={"acks": "all", "enable.idempotence": True},
    )
    commands = app.topic(f"{prefix}stock-commands", value_deserializer="json")
    answers = app.topic(f"{prefix}order-commands", value_serializer="json")
    events = app.topic(f"{prefix}stock-events", value_serializer="json")

    decided = app.dataframe(commands).apply(keep_stock, stateful=True, metadata=True, expand=True)
    for kind, key, topic in (("event", "sku", events), ("answer", "order", answers)):
        chosen = decided.filter(lambda out, kind=kind: out[0] == kind).apply(lambda out: out[1])
        chosen.to_topic(topic, key=lambda fields, key=key: fields[key])
    app.run()


if __name__ == "__main__":
    main()
