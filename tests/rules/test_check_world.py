"""
A day of a shop that the check is tried on: real keepers on a simulated log, and what they leave.

The check must find nothing here. `test_check_mutations.py` then breaks one thing at a time.
"""

from copy import deepcopy
from random import Random
from typing import Any

import pytest
from msgspec import structs

from agents.ledger import LEDGER_TOPICS, fold
from agents.letters import seal
from schemas.base import Source
from schemas.ledger import LedgerBatch, Start
from schemas.orders import (
    Buyer,
    Case,
    Choice,
    Disposition,
    ExpireHold,
    Line,
    ObserveOrder,
    OrderDetails,
    ParcelLine,
    Policy,
    Refund,
    ReturnGoods,
    SettleCase,
    ShipOrder,
    Status,
    StockAnswered,
)
from schemas.parked import Cause, Parked, Stage
from schemas.stock import (
    AdjustStock,
    AllotStock,
    ConfirmHold,
    CountStock,
    EndQuota,
    FreezeStock,
    GiveBackStock,
    HoldStock,
    OccupyStock,
    ReleaseStock,
    ReturnStock,
    ShipStock,
    Verb,
)
from streams.check.checker import CHANGELOGS, PHASES, Checker
from streams.check.feedlog import FeedLog
from streams.check.ledger import LedgerCheck
from streams.check.report import Claims, Finding
from streams.check.run import OF_POSTGRES
from streams.check.wire import STATE_KEY
from streams.check.words import (
    ANSWER_FIELDS,
    CONFIRM_FIELDS,
    DEMAND_FIELDS,
    HOLD_FIELDS,
    HOLD_STOCK_FIELDS,
    LINE_FIELDS,
    MOVE_STOCK_FIELDS,
    ORDER_FIELDS,
    PARKED_FIELDS,
    POLICY_FIELDS,
    QUOTA_FIELDS,
    RELEASE_STOCK_FIELDS,
    RETURN_STOCK_FIELDS,
    SOURCE_FIELDS,
    STATEMENT_FIELDS,
    STOCK_FIELDS,
)
from streams.engine.store import write_state
from tables import order_rows, orders, stock
from tests.builders import HOLD_FOR, MINUTE, T0, a_line, a_statement, an_id, receive
from tests.simulation import House, Record

RAW = "raw-orders-taobao"


def _that_can_go(batch: LedgerBatch) -> list[dict[str, Any]]:
    """What the ledger lists as ready to go, read from the rows that it would have written."""
    held = {
        (hold.order_key, hold.sku.partition("@")[2])
        for hold in batch.holds
        if hold.ended_at is None and hold.bucket == "occupied"
    }
    return [
        {
            "order_key": order.order_key,
            "warehouse": warehouse,
            "since": order.paid_at or order.received_at,
        }
        for order in batch.orders
        for key, warehouse in sorted(held)
        if key == order.order_key
        and order.status in ("PAID", "PARTIALLY_SHIPPED")
        and order.reservation == "reserved"
        and order.open_case is None
        and order.refund not in ("REFUNDING", "REFUNDED")
    ]


class Evidence:
    """Everything a check may look at; a test breaks it as it likes."""

    def __init__(self, house: House) -> None:
        self.logs = deepcopy(house.logs)
        self.ends = {place: len(log) for place, log in self.logs.items()}
        self.begins = dict.fromkeys(self.ends, 0)
        self.now_ms = house.now_ms
        for topic, keeper in CHANGELOGS.items():
            for partition in range(house.partitions):
                part = house.keepers[keeper, partition]
                state = write_state(part.state, len(part.rows))
                rows = [*part.rows.items(), (STATE_KEY, state)]
                self.logs[topic, partition] = [
                    Record(offset, house.now_ms, key, value)
                    for offset, (key, value) in enumerate(rows)
                ]
        self.tables = self._tables()

    def _tables(self) -> dict[str, list[dict[str, Any]]]:
        """What the ledger would have written of these logs, were it one round."""
        frames = {place: log for place, log in self.logs.items() if place[0] in LEDGER_TOPICS}
        batch = fold(frames, {place: Start(0, {}) for place in frames})  # type: ignore[arg-type]
        assert not batch.halted
        tables = {
            name: [row._asdict() for row in rows]
            for name, rows in {
                "orders": batch.orders,
                "order_lines": batch.lines,
                "order_events": batch.order_events,
                "order_details": batch.details,
                "stock_ledger": batch.moves,
                "stock": batch.stock,
                "holds": batch.holds,
                "quotas": batch.quotas,
                "shortfalls": batch.shortfalls,
                "returns": batch.returns,
                "releases_ignored": batch.ignored_releases,
                "command_answers": batch.answers,
                "parked": batch.parked,
            }.items()
        }
        first = {row["command_id"]: row for row in reversed(tables["command_answers"])}
        tables["command_answers"] = [*first.values()]
        for row in tables["parked"]:
            row["settled_at"] = None
        for row in tables["orders"]:
            row["first_received_at"] = row["received_at"]
        tables["orders_to_ship"] = _that_can_go(batch)
        tables["sink_positions"] = [
            {"topic": topic, "partition": partition, "next": span.end}
            for (topic, partition), span in batch.positions.items()
        ]
        tables["sink_sources"] = [
            {
                "topic": topic,
                "partition": partition,
                "source": source,
                "epoch": heard[0],
                "number": heard[1],
            }
            for (topic, partition), sources in batch.heard.items()
            for source, heard in sources.items()
        ]
        return tables

    def check(self, feed: list[dict[str, Any]] | None = None) -> dict[str, Finding]:
        """Check it, as `run` does."""
        claims = Claims()
        log = None
        if feed is not None:
            log = FeedLog(claims)
            for line in feed:
                log.add(line, line["topic"])
        checker = Checker(self.now_ms, log, claims)
        for phase in PHASES:
            for (topic, partition), records in self.logs.items():
                if topic in phase:
                    checker.take(topic, partition, records)
        checker.settle(self.begins, self.ends)
        ledger = LedgerCheck(checker)
        for id_ in OF_POSTGRES:
            _ = checker.claims[id_]
        for table, rows in self.tables.items():
            ledger.take(table, rows)
        ledger.close(self.ends)
        return {finding.id: finding for finding in checker.findings()}


class Day:
    """A House with raw topics before it."""

    def __init__(self) -> None:
        self.house = House(partitions=2)

    def say(self, *statement: Any, partition: int = 0, **more: Any) -> None:
        """Let the platform say something: a raw message, and the command intake makes of it."""
        policy = Policy(
            hold_for_ms=HOLD_FOR, partial=more.pop("partial", False), quota=more.pop("quota", "")
        )
        self.say_all([a_statement(*statement, **more)], policy, partition)

    def say_all(self, said: list[Any], policy: Policy, partition: int = 0) -> None:
        body = repr(said).encode()
        log = self.house.log(RAW, partition)
        source = Source(RAW, partition, len(log), "taobao/1", f"{len(log):016x}", self.house.now_ms)
        self.raw(body, partition)
        for statement in said:
            self.house.tell(ObserveOrder(statement=statement, policy=policy, source=source))

    def raw(self, body: bytes, partition: int = 0, topic: str = RAW) -> Record:
        log = self.house.log(topic, partition)
        log.append(Record(len(log), self.house.now_ms, None, body))
        return log[-1]

    def park(self, body: bytes, partition: int = 0) -> None:
        """A raw message that intake could not read."""
        record = self.raw(body, partition)
        place = f"{RAW}/{partition}/{record.offset}"
        parked = Parked(
            id=place,
            stage=Stage.INTAKE,
            cause=Cause.UNREADABLE,
            field="",
            reason="not JSON",
            topic=RAW,
            partition=partition,
            offset=record.offset,
            key=None,
            value=body,
            seen_ms=record.timestamp,
        )
        key = place.encode()
        self.put("parked", self.house.partition_of("parked", key), key, seal(parked))

    def put(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        log = self.house.log(topic, partition)
        log.append(Record(len(log), self.house.now_ms, key, value))

    def settle(self) -> None:
        self.house.settle(Random(self.house.now_ms), crashes=0.2)


def a_day() -> Evidence:
    """Receive, sell, pay, ship, cancel, expire, run short, restate, park, and crash on the way."""
    day = Day()
    house = day.house
    house.tell(receive("LAMP", 100), receive("RUG", 40), receive("VASE", 3))
    day.settle()
    for number in range(12):
        day.say(
            Status.PENDING_PAYMENT,
            a_line("LAMP", 2),
            a_line("RUG", 1),
            order=f"10{number}",
            buyer=Buyer(name="陈**"),
            partition=number % 2,
        )
    day.settle()
    for number in range(6):
        day.say(Status.PAID, a_line("LAMP", 2), a_line("RUG", 1), order=f"10{number}", at=MINUTE)
    for number in range(3):
        day.say(Status.SHIPPED, order=f"10{number}", at=2 * MINUTE)
        day.say(Status.PENDING_PAYMENT, a_line("LAMP", 2), order=f"10{number}", at=-1)
    day.say(
        Status.CANCELLED,
        order="103",
        at=3 * MINUTE,
        refund=Refund.REFUNDED,
        refunded=3000,
        paid=3000,
    )
    day.say(Status.PENDING_PAYMENT, order="104", at=4 * MINUTE)
    day.settle()
    _edits_and_parcels(day)
    _asks_again(day)
    day.say(Status.PENDING_PAYMENT, a_line("VASE", 2), a_line("LAMP", 1), order="200")
    day.say(Status.PENDING_PAYMENT, a_line("VASE", 2), a_line("LAMP", 1), order="201")
    day.say(Status.PAID, a_line("VASE", 2), a_line("RUG", 1), order="202", at=5)
    day.say(Status.PAID, a_line("VASE", 9), a_line("RUG", 1), order="203", partial=True)
    day.say(Status.PAID, a_line(None), order="204")
    day.say(None, order="205", total=None, currency=None)
    day.say_all(
        [a_statement(Status.PAID, a_line("LAMP"), order=order) for order in ("206", "207")],
        Policy(),
    )
    day.settle()
    house.now_ms += HOLD_FOR + 1
    house.tell(
        *[ExpireHold(order=f"taobao:lamps:10{n}", deadline_ms=T0 + HOLD_FOR) for n in range(12)]
    )
    day.settle()
    day.say(Status.PAID, a_line("LAMP", 2), a_line("RUG", 1), order="109", at=HOLD_FOR)
    house.tell(
        AdjustStock(id=an_id(), sku="RUG", delta=-2, reason="count", operator="mei"),
        FreezeStock(id=an_id(), sku="LAMP", quantity=5, reason="QC", operator="mei"),
        receive("LAMP", 7, "no-uuid"),
        ReleaseStock(order="taobao:lamps:1", sku="LAMP", verb=Verb.RELEASE, cause="trial"),
    )
    _quotas_and_a_stocktake(day)
    day.park(b"{")
    day.raw(b'[{"tag": "0", "msg_id": "0", "data": "probe"}]', topic="raw-orders-douyin")
    day.put("order-commands", 0, b"junk", b"no message of ours, but long enough")
    day.settle()
    return Evidence(house)


def _quotas_and_a_stocktake(day: Day) -> None:
    """A quota that sells, gets back and runs out, and a count that finds too little."""
    house = day.house
    window = {"quota": "11-11", "starts_ms": house.now_ms, "ends_ms": house.now_ms + MINUTE // 2}
    house.tell(
        AllotStock(id=an_id(), sku="LAMP", quantity=9, reason="sale", operator="mei", **window),
        AllotStock(id=an_id(), sku="RUG", quantity=4, reason="sale", operator="mei", **window),
        GiveBackStock(
            id=an_id(), sku="RUG", quantity=1, reason="slow", operator="mei", quota="11-11"
        ),
        EndQuota(sku="RUG", quota="11-11", ends_ms=window["ends_ms"]),
        CountStock(id=an_id(), sku="LAMP", counted=12, reason="stocktake", operator="mei"),
    )
    day.settle()
    house.tell(receive("LAMP", 1))
    for order, status in (("400", Status.PAID), ("401", Status.PAID)):
        day.say(status, a_line("RUG", 2), order=order, at=HOLD_FOR, quota="11-11")
        day.settle()
    day.say(Status.CANCELLED, order="400", at=HOLD_FOR + 1)
    day.settle()
    house.now_ms = window["ends_ms"]
    house.tell(EndQuota(sku="RUG", quota="11-11", ends_ms=window["ends_ms"]))


def _edits_and_parcels(day: Day) -> None:
    """Orders that change their minds, leave in parcels and come back."""
    paid = Status.PAID
    for order in ("300", "301", "302", "303"):
        day.say(paid, a_line("LAMP", 2), a_line("RUG", 2), order=order, at=1)
    day.say(Status.PENDING_PAYMENT, a_line("LAMP", 2), order="304", at=1)
    day.say(Status.PENDING_PAYMENT, a_line("LAMP", 1), order="305", at=1)
    day.settle()
    for sku, number in (("LAMP", "SF1001"), ("RUG", "SF1002")):
        day.house.tell(
            ShipOrder(
                id=an_id(), order="taobao:lamps:303", carrier="SF", tracking_number=number,
                lines=(ParcelLine(sku, 1),), reason="packed", operator="wei",
            )
        )  # fmt: skip
    day.settle()
    day.say(paid, a_line("LAMP", 2), order="305", at=2)
    day.say(paid, a_line("LAMP", 3), a_line("RUG", 1), order="300", at=2)
    day.say(paid, a_line("LAMP", 2), a_line("VASE", 99), order="301", at=2)
    parcel = [a_line("LAMP", 2, shipped=2), a_line("RUG", 2, shipped=1)]
    day.say(Status.PARTIALLY_SHIPPED, *parcel, order="302", at=2)
    day.say(Status.SHIPPED, order="303", at=2)
    day.say(Status.PENDING_PAYMENT, a_line("LAMP", 3), a_line("VASE", 99), order="304", at=2)
    day.settle()
    day.say(Status.CANCELLED, order="302", at=3, refund=Refund.REFUNDED)
    dispositions = (Disposition.SELLABLE, Disposition.FROZEN, Disposition.LOST)
    for order, sku, disposition in (
        ("303", "LAMP", dispositions[0]),
        ("303", "RUG", dispositions[1]),
        ("302", "LAMP", dispositions[0]),
        ("303", "RUG", dispositions[2]),
        ("303", "RUG", dispositions[2]),
        ("999", "RUG", dispositions[2]),
    ):
        day.house.tell(
            ReturnGoods(
                id=an_id(),
                order=f"taobao:lamps:{order}",
                sku=sku,
                quantity=1,
                disposition=disposition,
                reason="too big",
                operator="mei",
            )
        )
    for choice in (Choice.BACKORDER, Choice.REFUND, Choice.REFUND):
        day.house.tell(
            SettleCase(
                id=an_id(),
                order="taobao:lamps:301",
                case=Case.PAID_BUT_SHORT,
                choice=choice,
                reason="called the buyer",
                operator="mei",
            )
        )
        day.settle()


def _asks_again(day: Day) -> None:
    """An operator is told that there is no such order, and asks again once there is one."""
    back = ReturnGoods(
        id=an_id(), order="taobao:lamps:998", sku="LAMP", quantity=1,
        disposition=Disposition.SELLABLE, reason="too big", operator="mei",
    )  # fmt: skip
    day.house.tell(back)
    day.settle()
    day.say(Status.SHIPPED, a_line("LAMP", 1), order="998", at=3)
    day.settle()
    day.house.now_ms += 1
    day.house.tell(back)
    day.settle()


@pytest.fixture(scope="module")
def day() -> Evidence:
    return a_day()


def test_a_day_that_nobody_touched_is_found_in_order(day: Evidence) -> None:
    findings = deepcopy(day).check()

    assert {id_: finding.examples for id_, finding in findings.items() if not finding.ok} == {}


def test_the_day_holds_what_it_is_meant_to_try(day: Evidence) -> None:
    figures = {id_: finding.figures for id_, finding in deepcopy(day).check().items()}

    assert figures["I7"]["repeats"] > 0
    assert figures["I6"]["short"] >= 2
    assert figures["I6"]["expired"] > 3
    assert figures["I6"]["cases"] > 0
    assert figures["I4"]["probes"] == 1
    assert figures["I4"]["parked"] == 1
    assert figures["I4"]["raw"] == sum(
        figures["I4"][word] for word in ("observed", "parked", "probes")
    )
    assert figures["I7.postgres"]["releases_ignored"] == 1
    assert figures["T21"]["live_holds"] > 5
    assert figures["I6"]["returns"] == 4
    assert figures["I6"]["parcels"] == 2
    assert figures["I2"]["changes_of_shortfalls"] > 0
    assert figures["I2"]["changes_of_quotas"] >= 4


@pytest.mark.parametrize(
    ("restated", "real"),
    [
        (ORDER_FIELDS, order_rows.Order),
        (STATEMENT_FIELDS, orders.Statement),
        (LINE_FIELDS, Line),
        (DEMAND_FIELDS, order_rows.Demand),
        (POLICY_FIELDS, Policy),
        (SOURCE_FIELDS, Source),
        (PARKED_FIELDS, Parked),
        (STOCK_FIELDS, stock.Stock),
        (HOLD_FIELDS, stock.Hold),
        (QUOTA_FIELDS, stock.Quota),
        (HOLD_STOCK_FIELDS, HoldStock),
        (CONFIRM_FIELDS, ConfirmHold),
        (RETURN_STOCK_FIELDS, ReturnStock),
        (ANSWER_FIELDS, StockAnswered),
        (MOVE_STOCK_FIELDS, OccupyStock),
        (MOVE_STOCK_FIELDS, ShipStock),
        (RELEASE_STOCK_FIELDS, ReleaseStock),
        (("order", "version"), OrderDetails),
    ],
)
def test_the_layouts_the_check_restates_are_the_real_ones(
    restated: tuple[str, ...], real: type
) -> None:
    assert [field.name for field in structs.fields(real)][: len(restated)] == list(restated)
