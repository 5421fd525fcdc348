"""
A small shop of the tests' own: a counter per key, and a letter for every count.

A command adds to its key's counter and says the new total to `totals`. Whatever is lost, counted
twice or overtaken shows in the totals.
"""

from msgspec import Struct, msgpack

from agents.letters import Form, Route
from schemas.parked import Parked
from streams.topics import PARKED, Topic, _inbox, changelog
from tables.spec import Decision, Rows, Table

COUNTS = _inbox("counts", "counter")
TOTALS = _inbox("totals", "counter")
TOPICS: tuple[Topic, ...] = (COUNTS, TOTALS, PARKED, changelog("stock"))


class Add(Struct, array_like=True, tag=True):
    """Add *n* to the counter *key*; zero or less removes it; `trouble` fails."""

    key: str
    n: int
    trouble: bool = False
    filler: bytes = b""


class Wake(Struct, array_like=True, tag=True):
    """Look at the counter *key*: its deadline has passed."""

    key: str


class Counter(Struct, array_like=True):
    total: int
    filler: bytes = b""
    due_ms: int | None = None


class Total(Struct, array_like=True, tag=True):
    """The counter *key* now has *total*."""

    key: str
    total: int


def decide(rows: Rows, command: Add | Wake, at_ms: int) -> Decision:
    key = command.key.encode()
    row = rows.get(key)
    if isinstance(command, Wake):
        return {key: None}, [Total(command.key, -1)]
    if command.trouble:
        raise ZeroDivisionError("trouble was asked for")
    if command.n <= 0:
        return {key: None}, [Total(command.key, 0)]
    total = (row.total if row else 0) + command.n
    return {key: Counter(total, command.filler)}, [Total(command.key, total)]


def _by_key(message: Total) -> bytes:
    return message.key.encode()


TABLE = Table(
    name="stock",
    number=9,
    decode_command=msgpack.Decoder(Add | Wake).decode,
    decode_row=msgpack.Decoder(Counter).decode,
    encode_row=msgpack.Encoder().encode,
    decide=decide,
    answer_failed=lambda command, at_ms: [],
)

ROUTES = {
    Total: Route(TOTALS.name, _by_key, Form.LETTER),
    Parked: Route(PARKED.name, lambda parked: parked.id.encode(), Form.LETTER),
}
