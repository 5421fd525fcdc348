"""In what order a round is written: an order's verdict does not wait for a burst of exceptions."""

from types import SimpleNamespace
from typing import Any

from agents.letters import seal
from schemas.errors import LedgerUnavailable
from schemas.ledger import LedgerBatch, Start, TopicPartition
from schemas.parked import Cause, Parked, Stage
from streams.postgres.sink import PARKED_AT_ONCE_MAX, LedgerSink
from tests.builders import receive
from tests.simulation import House

PARKED: TopicPartition = ("parked", 0)
MANY = PARKED_AT_ONCE_MAX + 1


class Written:
    """A ledger that remembers its transactions, and is away when it is told to be."""

    def __init__(self) -> None:
        self.batches: list[LedgerBatch] = []
        self.away_at: int | None = None
        self._next: dict[TopicPartition, int] = {}

    async def starts(self, partitions: Any) -> dict[TopicPartition, Start]:
        return {where: Start(self._next.get(where, 0), {}) for where in partitions}

    async def write(self, batch: LedgerBatch) -> None:
        if not batch.positions:
            return
        if self.away_at == len(self.batches):
            self.away_at = None
            raise LedgerUnavailable("away")
        assert all(self._next.get(w, 0) == span.start for w, span in batch.positions.items())
        self._next |= {where: span.end for where, span in batch.positions.items()}
        self.batches.append(batch)

    def said(self) -> list[tuple[int, int]]:
        """Moves and parked messages of each transaction."""
        return [(len(batch.moves), len(batch.parked)) for batch in self.batches]


def a_parked(offset: int) -> Any:
    letter = Parked(
        id=f"raw/0/{offset}", stage=Stage.INTAKE, cause=Cause.UNREADABLE, field="", reason="no",
        topic="raw", partition=0, offset=offset, key=None, value=b"{}", seen_ms=1,
    )  # fmt: skip
    return SimpleNamespace(offset=offset, timestamp=1, key=b"k", value=seal(letter), headers=())


def a_round(parked: int) -> dict[TopicPartition, Any]:
    house = House()
    house.tell(receive("LAMP", 5))
    house.settle()
    moved = {
        ("stock-events", number): log
        for number in range(house.partitions)
        if (log := house.log("stock-events", number))
    }
    return {**moved, PARKED: [a_parked(offset) for offset in range(parked)]}


async def a_sink(round_: Any) -> tuple[LedgerSink, Written]:
    written = Written()
    sink = LedgerSink(written)  # type: ignore[arg-type]
    await sink.starts(round_)
    return sink, written


async def test_many_that_were_parked_are_written_behind_everything_else() -> None:
    round_ = a_round(MANY)
    sink, written = await a_sink(round_)

    await sink.put(sink.prepare(round_))

    assert written.said() == [(1, 0), (0, MANY)]


async def test_a_few_are_written_with_it_and_a_round_of_nothing_else_is_one() -> None:
    few = a_round(MANY - 1)
    sink, written = await a_sink(few)
    await sink.put(sink.prepare(few))
    assert written.said() == [(1, MANY - 1)]

    alone = {PARKED: [a_parked(offset) for offset in range(MANY)]}
    sink, written = await a_sink(alone)
    await sink.put(sink.prepare(alone))
    assert written.said() == [(0, MANY)]


async def test_a_ledger_that_goes_away_between_the_two_has_each_once_in_the_end() -> None:
    round_ = a_round(MANY)
    sink, written = await a_sink(round_)
    prepared, lost = sink.prepare(round_), 0
    written.away_at = 1

    while lost < 2:
        try:
            await sink.put(prepared)
            break
        except LedgerUnavailable:
            lost += 1

    assert lost == 1
    assert written.said() == [(1, 0), (0, MANY)]
