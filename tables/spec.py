"""
What a table is to its keeper: where rows come from, what a decision is made of.

`decide(rows, command, at_ms)` looks up the rows of the command's own key, and returns a
`Decision`: the rows it changes (None is gone) and, in order, what is said. It changes nothing
itself: a decision that fails half-way has therefore done nothing at all.
"""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

#: A row that a table could not keep below this many bytes is a mistake in its rules.
ROW_BYTES_MAX = 900_000


class Rows(Protocol):
    """The rows of one partition, as the command before left them."""

    def get(self, key: bytes, /) -> Any:
        """Return the row under *key*, or None."""


#: What one command did: the rows it changes (None is gone), and what is said, in order.
#: A plain tuple: one is made for every command.
Decision = tuple[dict[bytes, Any], list[Struct]]

#: A rule for one type of command: (rows, command, append time in ms) -> Decision.
Rule = Callable[[Rows, Any, int], Decision]


class Table(Struct, frozen=True, kw_only=True):
    """One table: its name, how its rows are written, and the rules that change them."""

    #: The noun: `stock`. Names the keeper, its changelog, its metrics.
    name: str
    #: Stands in every letter as the sender; for life.
    number: int
    decode_command: Callable[[bytes], Any]
    decode_row: Callable[[bytes], Any]
    encode_row: Callable[[Any], bytes]
    decide: Callable[[Rows, Any, int], Decision]
    #: What is said when deciding a command failed at `at_ms` and somebody waits for an answer.
    answer_failed: Callable[[Any, int], list[Struct]]
    #: The most that a command may add to a row it touches, beyond the command's own size.
    growth_bytes: int = 512
    #: Only rows whose keys contain this may have a deadline, so the others are not read for it.
    deadlines_in: bytes = b""
    #: When this row has to be looked at again, ms; None for a table without deadlines.
    deadline_ms: Callable[[Any], int | None] | None = None
    #: What the sweeper sends to the table's own inbox when a row's deadline has passed.
    wake: Callable[[Any], Struct] | None = None
