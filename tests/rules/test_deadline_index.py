"""The sweeper's index: only rows that may wake are read, and it stays as small as what waits."""

import asyncio
from types import SimpleNamespace
from typing import Any

from msgspec import structs

from agents.frames import POSITION_BYTES
from schemas.orders import ExpireHold, RemindOrder, Status
from streams.engine import sweeper as sweeping
from streams.engine.producer import Batches
from streams.engine.sweeper import Sweeper, _Deadlines
from tables import orders, stock
from tables.order_rows import Demand, Held, Order, order_row_key
from tables.reservations import ANSWER_WITHIN_MS
from tests.builders import HOLD_FOR, T0

QUOTA = stock.Quota("RUG", "11-11", T0, T0 + 5, 3, 3, "x")


def a_sweeper(table: Any) -> Sweeper:
    swept = Sweeper(table)
    swept._parts[0] = _Deadlines()
    return swept


def test_of_stock_only_quotas_are_looked_at_also_after_a_restart() -> None:
    rows: dict[bytes, Any] = {
        stock.stock_key("RUG"): stock.Stock(available=5),
        stock.hold_key("RUG", "a:b:c"): object(),  # never read
        stock.quota_key("RUG", "11-11"): QUOTA,
    }
    swept = a_sweeper(stock.TABLE)

    swept.changed(0, rows)
    assert swept._parts[0].at == {stock.quota_key("RUG", "11-11"): T0 + 5}
    swept.changed(0, {stock.quota_key("RUG", "11-11"): None})
    assert swept._parts[0].at == {}

    unread = b"\\xc1"
    stored = {
        stock.hold_key("RUG", "a:b:c"): unread,
        stock.quota_key("RUG", "11-11"): bytes(POSITION_BYTES) + stock.TABLE.encode_row(QUOTA),
    }
    asyncio.run(swept.learn(0, stored))
    assert swept._parts[0].at == {stock.quota_key("RUG", "11-11"): T0 + 5}


def test_rows_that_are_being_read_anew_are_not_learned_from(monkeypatch: Any) -> None:
    """The index of that recovery is built by the recovery that reads them."""
    monkeypatch.setattr(sweeping, "_CHUNK", 1)
    rows = {stock.hold_key("RUG", f"a:b:{n}"): b"" for n in range(3)}
    wanted = True

    async def moved_meanwhile() -> None:
        nonlocal wanted
        learning = asyncio.create_task(a_sweeper(stock.TABLE).learn(0, rows, lambda: wanted))
        await asyncio.sleep(0)
        wanted = False
        rows[stock.hold_key("RUG", "a:b:new")] = b""
        await learning

    asyncio.run(moved_meanwhile())


def test_orders_that_went_on_before_they_were_due_do_not_pile_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(sweeping, "_STALE_MIN", 100)
    swept = a_sweeper(orders.TABLE)
    swept._keeper = SimpleNamespace()  # type: ignore[assignment]
    asked = Order(
        key="a:b:c", platform="a", shop="b", order_id="c", version=1, since_ms=T0,
        demands=(Demand("RUG", 1, Held.ASKED),),
    )  # fmt: skip
    done = structs.replace(asked, demands=(Demand("RUG", 1, Held.OCCUPIED),))

    for number in range(10_000):
        key = b"%d" % number
        swept.changed(0, {key: asked})
        swept.changed(0, {key: done})
    swept.changed(0, {b"last": structs.replace(asked, since_ms=T0 + HOLD_FOR)})

    assert len(swept._parts[0].heap) <= 102
    assert set(swept._parts[0].at) == {b"last"}


def test_an_order_that_was_reminded_of_an_answer_is_woken_for_a_deadline_at_the_same_moment():
    """Its hold had the length of the budget for an answer, and ran out half a minute late."""
    at = T0 + ANSWER_WITHIN_MS
    asked = Order(
        key="a:b:c", platform="a", shop="b", order_id="c", version=1, status=Status.PENDING_PAYMENT,
        since_ms=T0, deadline_ms=at, demands=(Demand("RUG", 1, Held.ASKED),),
    )  # fmt: skip
    held = structs.replace(asked, demands=(Demand("RUG", 1, Held.LOCKED),))
    swept, key, woken = a_sweeper(orders.TABLE), order_row_key(asked.key), []
    stored = {key: bytes(POSITION_BYTES) + orders.TABLE.encode_row(asked)}
    swept._keeper = SimpleNamespace(  # type: ignore[assignment]
        store=SimpleNamespace(parts={0: SimpleNamespace(rows=stored)}),
        wake=lambda _p, _key, command, _into: woken.append(command),
    )

    swept.changed(0, {key: asked})
    swept._due(0, at, 10, Batches())
    stored[key] = bytes(POSITION_BYTES) + orders.TABLE.encode_row(held)
    swept.changed(0, {key: held})
    swept._due(0, at + 250, 10, Batches())

    assert [type(command) for command in woken] == [RemindOrder, ExpireHold]
