"""The chain of the ledger: what it seals, and that a stranger can compute it."""

import json
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from agents.chain import GENESIS, seal_of, sealed
from agents.ledger import fold
from schemas.ledger import MoveRow, Start
from schemas.orders import Status
from schemas.stock import Bucket, Verb
from tests.builders import T0, a_line, a_statement, observe, receive
from tests.simulation import House

LAMP, RUG = "GARISH-LAMP", "HUMBLE-RUG"


def a_move(version: int = 1, **changes: object) -> MoveRow:
    row = MoveRow(
        LAMP, version, T0, Verb.RECEIVE, 5, None, Bucket.AVAILABLE, 5, 0, 0, 0, 0,
        None, None, "id-1", "mei", "delivery", "raw-orders-taobao/0/7", 0, None, None,
    )  # fmt: skip
    return row._replace(**changes)


def by_a_stranger(rows: list[MoveRow]) -> bytes:
    """What the documentation says, without a line of ours."""
    chain = bytes(32)
    for row in rows:
        text = json.dumps(list(row), ensure_ascii=False, separators=(",", ":"))
        chain = sha256(chain + text.encode()).digest()
    return chain


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(_TEXT, _TEXT, st.integers(0, 2**62))
def test_a_stranger_computes_the_same_chain_whatever_is_written(
    reason: str, operator: str, quantity: int
) -> None:
    rows = [a_move(reason=reason), a_move(2, operator=operator, quantity=quantity)]

    written, heads = sealed(rows, {})

    assert heads == {LAMP: by_a_stranger(rows)}
    assert written[-1] == (*rows[-1], heads[LAMP])


def test_each_sku_has_a_chain_of_its_own_that_goes_on_where_it_was() -> None:
    rows = [a_move(), a_move(sku=RUG), a_move(2), a_move(2, sku=RUG)]
    _, first = sealed(rows[:3], {})

    _, after = sealed(rows[3:], first)

    assert first[LAMP] == by_a_stranger([rows[0], rows[2]])
    assert after == {RUG: by_a_stranger([rows[1], rows[3]])}


def test_every_column_is_sealed() -> None:
    others = {
        name: 9 if isinstance(value, int) or name in ("deadline_at", "held") else "other"
        for name, value in a_move()._asdict().items()
    }

    seals = {seal_of(GENESIS, a_move(**{name: value})) for name, value in others.items()}

    assert len(seals | {seal_of(GENESIS, a_move())}) == len(MoveRow._fields) + 1


def test_the_layout_is_for_life() -> None:
    """Sealed entries could not be verified any more: a new column gets a form of its own."""
    assert seal_of(GENESIS, a_move()).hex() == (
        "def5704482c4011bc9a3b75c2625ca3c54b2d2e6501c9daa77c7d6da56827c74"
    )


def test_what_the_keepers_said_is_sealed_as_it_was_folded() -> None:
    house = House(partitions=1)
    house.tell(receive(LAMP, 9), receive(RUG, 9))
    house.settle()
    for at, status in enumerate([Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED]):
        house.tell(observe(a_statement(status, a_line(LAMP, 2), a_line(RUG), at=at), at))
        house.settle()
    log = {("stock-events", 0): house.log("stock-events", 0)}
    moves = fold(log, {("stock-events", 0): Start(0, {})}).moves

    _, heads = sealed(moves, {})

    assert heads == {
        sku: by_a_stranger([move for move in moves if move.sku == sku]) for sku in (LAMP, RUG)
    }
