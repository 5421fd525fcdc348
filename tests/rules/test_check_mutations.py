"""
T25: the check can fail. One thing of a day in order is broken at a time, and is found, by amount.

A check that finds nothing proves nothing until it has been seen to find.
"""

from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

import pytest
from msgspec import json, msgpack

from agents.letters import PREFIX
from schemas.orders import Status
from streams.check.report import Finding
from streams.check.wire import PREFIX_BYTES, STATE_KEY
from streams.check.words import ORDER_FIELDS, may_follow
from tests.builders import a_line, receive
from tests.rules.test_check_world import RAW, Day, Evidence, a_day
from tests.simulation import Record


@pytest.fixture(scope="module")
def untouched() -> Evidence:
    return a_day()


@pytest.fixture
def day(untouched: Evidence) -> Evidence:
    return deepcopy(untouched)


def violated(findings: dict[str, Finding]) -> set[str]:
    return {id_ for id_, finding in findings.items() if finding.violations}


def texts(finding: Finding) -> str:
    return "\n".join(f"{one.where}: {one.expected} / {one.found}" for one in finding.examples)


# --- finding and changing one record --------------------------------------------------------------


def records(day: Evidence, topic: str) -> list[tuple[list[Record], Record]]:
    return [
        (log, record)
        for (name, _), log in sorted(day.logs.items())
        if name == topic
        for record in log
    ]


def seen_once(day: Evidence, topic: str, pick: Callable[[dict[str, Any]], bool]) -> Any:
    """A public event, no repeat of which is on the wire, that *pick* says yes to."""
    found = records(day, topic)
    for log, record in found:
        event = json.decode(record.value or b"")
        if pick(event) and sum(other.value == record.value for _, other in found) == 1:
            return log, record, event
    pytest.fail("the day has no such event")


def altered(record: Record, event: dict[str, Any], **changes: Any) -> None:
    record.value = json.encode(event | changes)


def letter(day: Evidence, topic: str, tag: str, *, numbered: bool = True) -> tuple[Any, ...]:
    """A letter of that tag, no repeat of which is on the wire: (log, record, fields)."""
    found = records(day, topic)
    for log, record in found:
        value = record.value or b""
        said = msgpack.decode(value[PREFIX_BYTES:]) if value[:1] in (b"\0", b"\1") else [""]
        once = sum(other.value == value for _, other in found) == 1
        if said[0] == tag and once and (value[0] == 1) == numbered:
            return log, record, said
    pytest.fail("the day has no such letter")


def rewrite(record: Record, said: list[Any]) -> None:
    record.value = (record.value or b"")[:PREFIX_BYTES] + msgpack.encode(said)


def changelog_row(day: Evidence, topic: str, pick: Callable[[bytes, Any], bool]) -> tuple[Any, ...]:
    for log, record in records(day, topic):
        if record.key == STATE_KEY:
            continue
        row = msgpack.decode((record.value or b"")[8:])
        if pick(record.key or b"", row):
            return log, record, row
    pytest.fail("the day has no such row")


def put_row(record: Record, row: list[Any]) -> None:
    record.value = (record.value or b"")[:8] + msgpack.encode(row)


# --- stock: I1, I2, I3, holds ---------------------------------------------------------------------


def test_a_lost_move_is_missed_with_its_version_and_units(day: Evidence) -> None:
    log, record, event = seen_once(day, "stock-events", lambda e: e.get("verb") == "occupy")

    log.remove(record)
    found = day.check()

    said = texts(found["I1"])
    assert f"{event['sku']}, the next move: {event['version']} / {event['version'] + 1}" in said
    assert f"{event['sku']} version {event['version'] + 1} occupied" in said
    assert {"I1", "I7", "I7.postgres", "T21"} <= violated(found)


def test_a_move_of_one_unit_more_than_the_balances_say_is_found(day: Evidence) -> None:
    _, record, event = seen_once(day, "stock-events", lambda e: e.get("verb") == "hold")

    altered(record, event, quantity=event["quantity"] + 1)
    said = texts(day.check()["I1"])

    where = f"{event['sku']} version {event['version']}"
    assert f"{where} available: {event['available'] - 1} / {event['available']}" in said
    assert f"{where} locked: {event['locked'] + 1} / {event['locked']}" in said


def test_a_balance_below_zero_is_oversold(day: Evidence) -> None:
    _, record, event = seen_once(day, "stock-events", lambda e: e.get("verb") == "hold")

    altered(record, event, available=-1)
    found = day.check()

    assert f"{event['sku']} version {event['version']}: available 0 or more / -1" in texts(
        found["I2"]
    )


def test_holds_beyond_what_is_on_hand_are_oversold(day: Evidence) -> None:
    _, record, event = seen_once(
        day, "stock-events", lambda e: e.get("verb") == "hold" and e["sku"] == "VASE"
    )

    altered(record, event, quantity=50)

    assert "holds of at most 3 / 50" in texts(day.check()["I2"])


def test_a_hold_that_takes_from_outside_is_no_zero_sum(day: Evidence) -> None:
    _, record, event = seen_once(day, "stock-events", lambda e: e.get("verb") == "hold")

    altered(record, event, source=None)
    found = day.check()["I3"]

    assert "a path of hold / None to locked" in texts(found)
    assert found.violations == 1


def test_a_freeze_that_adds_a_unit_changes_on_hand(day: Evidence) -> None:
    _, record, event = seen_once(day, "stock-events", lambda e: e.get("verb") == "freeze")

    altered(record, event, frozen=event["frozen"] + 1)

    assert "freeze leaves on-hand as it is / on-hand changes by 1" in texts(day.check()["I3"])


def test_a_balance_in_the_changelog_that_is_one_off_is_named(day: Evidence) -> None:
    _, record, row = changelog_row(day, "stock-changelog", lambda k, _: k == b"RUG")

    put_row(record, ["S", row[1] + 1, *row[2:]])
    found = day.check()

    assert violated(found) == {"I1"}
    assert texts(found["I1"]) == f"RUG in the changelog: {row} / {['S', row[1] + 1, *row[2:]]}"


def test_a_hold_that_the_changelog_lost_is_named(day: Evidence) -> None:
    log, record, row = changelog_row(day, "stock-changelog", lambda _, r: r[0] == "H")
    sku, _, order = record.key.decode().partition("\0")

    log.remove(record)
    found = day.check()

    assert (
        texts(found["T21"]) == f"{sku} held by {order} in the changelog: {row[1]} {row[2]} / no row"
    )
    assert "rows counted by the state" in texts(found["I5"])


def test_a_demand_without_its_hold_is_named(day: Evidence) -> None:
    _, record, row = changelog_row(
        day, "orders-changelog", lambda _, r: any(d[2] == "occupied" for d in r[36])
    )
    sku, quantity = row[36][0][:2]

    row[36][0][1] += 1
    put_row(record, row)
    said = texts(day.check()["T21"])

    where = f"{record.key.decode()}, {sku} (occupied)"
    assert f"{where}: {quantity + 1} occupied / {quantity} occupied" in said


def test_a_hold_that_nobody_demands_is_named(day: Evidence) -> None:
    _, record, row = changelog_row(
        day, "orders-changelog", lambda _, r: any(d[2] == "occupied" for d in r[36])
    )
    gone = row[36].pop(0)

    put_row(record, row)

    order = record.key.decode()
    said = texts(day.check()["T21"])
    assert (
        f"{gone[0]} held by {order}: a demand of the order / {gone[1]} occupied for nobody" in said
    )


def test_a_repair_without_an_operator_is_named(day: Evidence) -> None:
    _, record, event = seen_once(day, "stock-events", lambda e: e.get("verb") == "freeze")

    altered(record, event, operator="")

    assert "its operator / operator is empty" in texts(day.check()["I13"])


def test_a_hold_past_its_deadline_is_stuck_and_its_lateness_told(day: Evidence) -> None:
    _, record, event = seen_once(
        day, "stock-events", lambda e: e.get("verb") == "occupy" and e["order"].endswith("105")
    )

    altered(record, event, deadline_ms=day.now_ms - 61_000)

    stuck = f"{event['sku']} held by taobao:lamps:105"
    assert f"{stuck}: released at its deadline / 61 s late" in texts(day.check()["I12"])


def test_an_ask_that_nobody_decided_is_stuck(day: Evidence) -> None:
    log, record, event = seen_once(
        day, "order-events", lambda e: e["event"] == "order.short" and ":20" in e["order"]
    )

    log.remove(record)
    attempt = f"{event['order']} attempt {event['attempt']}"
    found = day.check()

    assert f"{attempt}: a verdict / asked, and nothing told" in texts(found["I12"])


# --- I4: one outcome ------------------------------------------------------------------------------


def test_a_raw_message_that_nobody_answered_is_silent(day: Evidence) -> None:
    log, record, said = letter(day, "order-commands", "ObserveOrder", numbered=False)
    place = said[3][:3]

    log.remove(record)
    found = day.check()

    assert found["I4"].figures["silent"] == 1
    assert f"{RAW}/{place[1]}/{place[2]}: observed or parked / silence" in texts(found["I4"])


def test_a_raw_message_both_observed_and_parked_has_two_outcomes(day: Evidence) -> None:
    _, record, said = letter(day, "parked", "Parked", numbered=False)
    said[1], said[8] = f"{RAW}/0/0", 0

    rewrite(record, said)

    assert f"{RAW}/0/0: observed or parked / observed and parked" in texts(day.check()["I4"])


def test_a_parked_message_that_lost_a_byte_is_not_whole(day: Evidence) -> None:
    _, record, said = letter(day, "parked", "Parked", numbered=False)
    said[10] = said[10][:-1]

    rewrite(record, said)

    assert f"parked {said[1]}: the record's own bytes / other bytes" in texts(day.check()["I4"])


def test_a_parked_message_without_a_reason_is_named(day: Evidence) -> None:
    _, record, said = letter(day, "parked", "Parked", numbered=False)
    said[5] = ""

    rewrite(record, said)

    assert f"parked {said[1]}: a reason / none" in texts(day.check()["I12"])


def test_a_raw_message_that_vanished_leaves_a_statement_from_nowhere(day: Evidence) -> None:
    log = day.logs[RAW, 0]

    del log[-2]

    assert "a raw message at this place" in texts(day.check()["I4"])


def test_a_statement_without_an_event_has_no_outcome(day: Evidence) -> None:
    log, record, event = seen_once(day, "order-events", lambda e: e["event"] == "order.ignored")

    log.remove(record)
    found = day.check()["I4"]

    assert found.figures["without_outcome"] == 1
    assert f"statement {event['order']} {event['cause']}: one outcome each / 1 without" in texts(
        found
    )


def test_an_ask_without_an_answer_has_no_outcome(day: Evidence) -> None:
    log, record, said = letter(day, "order-commands", "StockAnswered")

    log.remove(record)
    found = day.check()

    assert f"ask {said[1]} {said[2]} {said[3]}: one outcome each / 1 without" in texts(found["I4"])
    assert {"I4", "I6", "I7"} <= violated(found)


def test_an_answer_that_was_turned_into_a_yes_is_found(day: Evidence) -> None:
    _, record, said = letter(day, "order-commands", "StockAnswered")
    said[4] = None if said[4] else "not_enough"

    rewrite(record, said)
    found = day.check()

    assert ": refused: " in texts(found["I6"])
    assert f"hold {said[1]} {said[2]}" in texts(found["I4"])


def test_an_operator_without_an_answer_is_named(day: Evidence) -> None:
    log, record, event = seen_once(day, "stock-events", lambda e: e["event"] == "stock.answered")

    log.remove(record)
    found = day.check()

    assert f"command {event['command']}: one outcome each / 1 without" in texts(found["I4"])


def test_a_delivery_that_nobody_took_is_parked_by_no_message(day: Evidence) -> None:
    told = {"id": "deliveries/0/7", "stage": "callback", "cause": "not_delivered"}
    row = {**day.tables["parked"][0], **told, "topic": "deliveries"}
    day.tables["parked"].append(row)
    assert day.check()["I12.postgres"].ok

    day.tables["parked"].append({**row, "id": f"{RAW}/0/7777", "topic": RAW})
    assert not day.check()["I12.postgres"].ok


def test_junk_in_an_inbox_that_nobody_parked_is_named(day: Evidence) -> None:
    junk = b"no message of ours, but long enough"
    for log, record in records(day, "parked"):
        if junk in (record.value or b""):
            log.remove(record)
    place = next(
        f"order-commands/0/{record.offset}"
        for record in day.logs["order-commands", 0]
        if record.value == junk
    )

    said = texts(day.check()["I4"])

    assert f"{place}: parked, for it is no message of ours / silence" in said


# --- I5: nothing waits ----------------------------------------------------------------------------


def test_a_record_that_waits_is_counted(day: Evidence) -> None:
    place = ("stock-commands", 1)
    end = day.ends[place]

    day.ends[place] += 3
    found = day.check()["I5"]

    assert found.figures["waiting"] == 3
    assert texts(found) == f"stock keeper, stock-commands/1: position: {end + 3} / {end}"


def test_a_keeper_without_a_state_is_named(day: Evidence) -> None:
    log = day.logs["orders-changelog", 0]

    log.pop()

    assert "orders keeper, order-commands/0: a state at position" in texts(day.check()["I5"])


def test_of_a_key_the_greatest_position_wins_whatever_comes_last(day: Evidence) -> None:
    log, record, row = changelog_row(day, "stock-changelog", lambda k, _: k == b"LAMP")
    old = bytes(8) + msgpack.encode(["S", 0, 0, 0, 0, 0, 1])

    log.append(Record(len(log), record.timestamp, record.key, old))
    found = day.check()

    assert violated(found) == set()
    assert found["I5"].figures["late_writes_outvoted"] == 1
    assert row


def test_two_rows_of_one_position_contradict_each_other(day: Evidence) -> None:
    log, record, row = changelog_row(day, "stock-changelog", lambda k, _: k == b"LAMP")
    other = record.value[:8] + msgpack.encode([*row[:6], row[6] + 1])

    log.append(Record(len(log), record.timestamp, record.key, other))

    assert "the same row as before at this position / another row" in texts(day.check()["I5"])


def test_a_log_that_does_not_begin_at_zero_cannot_be_folded(day: Evidence) -> None:
    day.begins["order-events", 0] = 7

    assert texts(day.check()["I0"]) == "order-events/0: records from 0 on / the first is 7"


# --- I6: legal history ----------------------------------------------------------------------------


def test_an_answer_that_changes_when_it_is_asked_for_again_is_found(day: Evidence) -> None:
    _, record, event = [
        (log, record, event)
        for log, record in records(day, "order-events")
        if (event := json.decode(record.value or b""))["order"].endswith(":998")
        and event["event"] == "order.answered"
    ][-1]

    altered(record, event, refusal=None)

    where = f"the answer to {event['command']}, whenever asked"
    assert f"{where}: unknown_order / None" in texts(day.check()["I6"])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("status", "PAID", "answers to operators only / status"),
        ("answers", [], "answers to operators only / none"),
        ("key", "taobao:lamps:1", "key: taobao:lamps:999 / taobao:lamps:1"),
    ],
)
def test_a_row_of_an_order_nobody_spoke_of_is_answers_and_no_more(
    day: Evidence, field: str, value: object, said: str
) -> None:
    _, record, row = changelog_row(
        day, "orders-changelog", lambda key, _: key == b"taobao:lamps:999"
    )
    row[ORDER_FIELDS.index(field)] = value

    put_row(record, row)

    assert said in texts(day.check()["I8"])


def test_an_answer_that_was_told_otherwise_than_its_row_remembers_is_found(day: Evidence) -> None:
    _, record, row = changelog_row(
        day, "orders-changelog", lambda key, _: key == b"taobao:lamps:999"
    )
    row[ORDER_FIELDS.index("answers")][0][2] = None

    put_row(record, row)

    assert "unknown_order / None" in texts(day.check()["I8"])


def test_a_lost_order_event_leaves_a_gap_in_the_versions(day: Evidence) -> None:
    log, record, event = seen_once(
        day, "order-events", lambda e: e["event"] == "order.observed" and e["status"] == "PAID"
    )

    log.remove(record)
    found = day.check()

    gap = f"{event['order']}, the next event: {event['version']} / {event['version'] + 1}"
    assert gap in texts(found["I6"])
    assert {"I4", "I6", "I7"} <= violated(found)


@pytest.mark.parametrize(
    ("before", "after", "legal"),
    [
        (None, "CANCELLED", True),
        ("UNKNOWN", "PENDING_PAYMENT", True),
        ("PENDING_PAYMENT", "DELIVERED", True),
        ("PAID", "ON_HOLD", True),
        ("SHIPPED", "PAID", True),
        ("PAID", "CANCELLED", True),
        ("COMPLETED", "CANCELLED", True),
        # paid never becomes unpaid
        ("PAID", "PENDING_PAYMENT", False),
        ("ON_HOLD", "UNKNOWN", False),
        ("DELIVERED", None, False),
        # completed is left only to cancelled, cancelled to nothing
        ("COMPLETED", "SHIPPED", False),
        ("CANCELLED", "PAID", False),
        ("CANCELLED", "COMPLETED", False),
    ],
)
def test_what_may_follow_what(before: str | None, after: str | None, *, legal: bool) -> None:
    assert may_follow(before, after) is legal


def test_a_cancelled_order_that_comes_back_is_named(day: Evidence) -> None:
    _, record, event = seen_once(
        day,
        "order-events",
        lambda e: (
            e["event"] == "order.observed"
            and e["status"] == "CANCELLED"
            and e["order"].endswith(":103")
        ),
    )

    altered(record, event, status="PENDING_PAYMENT")
    found = day.check()["I6"]

    stay = "the platform's status to stay or go on from PAID / PENDING_PAYMENT"
    where = f"{event['order']} version {event['version']}"
    assert f"{where} (order.observed): {stay}" in texts(found)
    assert f"told and observed: PENDING_PAYMENT / {event['status']}" in texts(found)


def test_a_status_told_before_the_verdict_is_named(day: Evidence) -> None:
    log, record, event = seen_once(
        day, "order-events", lambda e: e["event"] == "order.reserved" and e["version"] == 2
    )
    told = {k: event[k] for k in ("order", "version", "at_ms", "cause")}
    told |= {"event": "order.status", "before": None, "status": "PENDING_PAYMENT"}
    headers = tuple(
        (name, b"com.orderflow.order.status.v1" if name == "ce_type" else value)
        for name, value in record.headers
    )

    log[log.index(record)] = Record(
        record.offset, record.timestamp, record.key, json.encode(told), headers
    )

    assert "the verdict of attempt 1 first (T06) / status" in texts(day.check()["I6"])


def test_a_second_verdict_of_one_attempt_is_named(day: Evidence) -> None:
    _, record, event = seen_once(
        day, "order-events", lambda e: e["event"] == "order.reserved" and e["attempt"] == 1
    )

    altered(record, event, attempt=2)

    assert "attempt 1 / attempt 2" in texts(day.check()["I6"])


def test_a_short_line_in_an_order_of_all_or_nothing_is_named(day: Evidence) -> None:
    _, record, event = seen_once(
        day, "order-events", lambda e: e["event"] == "order.reserved" and not e["short"]
    )
    short = {"sku": "RUG", "wanted": 1, "available": 0, "refusal": "not_enough"}

    altered(record, event, short=[short])
    said = texts(day.check()["I6"])

    assert "all lines or none" in said
    assert "refused: [] / [('RUG', 'not_enough', 0)]" in said


# --- I7: effective once ---------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["order-commands", "stock-commands", "order-details"])
def test_a_lost_letter_leaves_a_gap_in_the_numbers(day: Evidence, topic: str) -> None:
    tags = {"order-commands": "StockAnswered", "stock-commands": "HoldStock"}
    log, record, _ = letter(day, topic, tags.get(topic, "OrderDetails"))
    number = int.from_bytes(record.value[8:16], "big")

    log.remove(record)
    found = day.check()["I7"]

    assert found.figures["missing"] == 1
    assert f"letter {number} / letter {number + 1}" in texts(found)


@pytest.mark.parametrize("topic", ["order-events", "stock-events"])
def test_a_lost_event_leaves_a_gap_in_the_numbers(day: Evidence, topic: str) -> None:
    log, record, _ = seen_once(day, topic, lambda _: True)

    log.remove(record)

    assert day.check()["I7"].figures["missing"] == 1


def test_the_last_letter_cannot_be_lost_either(day: Evidence) -> None:
    log = day.logs["order-events", 0]
    lost = log[-1].value

    log[:] = [record for record in log if record.value != lost]
    found = day.check()

    assert "letters sent as its state counts them" in texts(found["I7"])


def test_a_repeat_is_counted_and_harms_nothing(day: Evidence) -> None:
    before = deepcopy(day).check()["I7"].figures["repeats"]
    log, record, _ = seen_once(day, "stock-events", lambda _: True)

    log.append(deepcopy(record))
    found = day.check()

    assert violated(found) == set()
    assert found["I7"].figures["repeats"] == before + 1


def test_a_repeat_with_other_bytes_is_a_contradiction(day: Evidence) -> None:
    log, record, event = seen_once(day, "stock-events", lambda e: e.get("verb") == "hold")

    log.append(deepcopy(record))
    altered(log[-1], event, quantity=event["quantity"] + 1)
    found = day.check()

    assert violated(found) == {"I7"}
    assert found["I7"].figures["contradictions"] == 1


def a_day_with_epochs() -> Evidence:
    """Both keepers begin epochs while orders are on their way; in the last one nothing is said."""
    day = Day()
    house = day.house
    house.tell(receive("LAMP", 50), receive("RUG", 50))
    day.settle()
    for epoch, keeper in enumerate(("stock", "orders", "stock"), start=1):
        for number in range(6):
            order = f"{epoch}0{number}"
            day.say(Status.PAID, a_line("LAMP", 1), a_line("RUG", 2), order=order)
        house.settle(Random(epoch), turns=3)
        house.start_epoch(keeper, epoch)
    day.settle()
    house.start_epoch("stock", 9)
    day.settle()
    return Evidence(house)


@pytest.fixture
def epochs() -> Evidence:
    return a_day_with_epochs()


def announcements(day: Evidence, topic: str, keeper: int, epoch: int) -> list[tuple[Any, Record]]:
    prefix = PREFIX.pack(2, keeper, 0, epoch, 0)
    event = b'{"event":"EpochAnnounced","keeper":"%s","partition":0,"epoch":%d}'
    said = {prefix, event % ((b"orders", b"stock")[keeper - 1], epoch)}
    return [(log, record) for log, record in records(day, topic) if record.value in said]


def test_epochs_that_were_announced_are_found_in_order(epochs: Evidence) -> None:
    found = epochs.check()

    assert {id_: texts(found[id_]) for id_ in violated(found)} == {}
    assert found["I7"].figures["announcements"] > 20
    assert found["I13"].figures["epochs"] == 4 * 2


@pytest.mark.parametrize("topic", ["order-commands", "stock-events"])
def test_an_epoch_that_nobody_announced_is_named(epochs: Evidence, topic: str) -> None:
    for log, record in announcements(epochs, topic, 2, 1):
        log.remove(record)

    said = texts(epochs.check()["I7"])

    assert "epoch 1 announced before its first letter / a letter of epoch 1, announced is 0" in said


def test_an_announcement_after_the_first_letter_is_too_late(epochs: Evidence) -> None:
    ((log, record),) = announcements(epochs, "stock-events", 2, 1)

    log.remove(record)
    log.append(record)

    assert "announced is 0" in texts(epochs.check()["I7"])


@pytest.mark.parametrize("lost", [0, -1], ids=["its first event", "its last"])
def test_a_lost_event_of_the_new_epoch_is_missed(epochs: Evidence, lost: int) -> None:
    new = [
        (log, record)
        for log, record in records(epochs, "stock-events")
        if dict(record.headers)["ce_source"] == b"/orderflow/stock/e1/p0"
    ]
    number = int(dict(new[lost][1].headers)["ce_sequence"])
    for log, record in new:
        if int(dict(record.headers)["ce_sequence"]) == number:
            log.remove(record)

    found = epochs.check()

    # The last one before yet another epoch leaves no gap: its move is missed instead.
    assert "I7" in violated(found) if lost == 0 else "I1" in violated(found)


def test_a_letter_of_an_ended_epoch_that_was_not_there_before_is_named(epochs: Evidence) -> None:
    _, last = max(
        (int(dict(record.headers)["ce_sequence"]), record)
        for _, record in records(epochs, "stock-events")
        if dict(record.headers)["ce_source"] == b"/orderflow/stock/e0/p0"
    )
    late = deepcopy(last)
    sequence = b"%020d" % (int(dict(last.headers)["ce_sequence"]) + 1)
    late.headers = tuple(
        (name, sequence if name in ("ce_sequence", "ce_id") else value)
        for name, value in last.headers
    )

    epochs.logs["stock-events", 0].append(late)

    assert "nothing new of epoch 0 after epoch 3 began" in texts(epochs.check()["I7"])


def test_a_keeper_in_an_epoch_that_its_inbox_does_not_say_is_named(epochs: Evidence) -> None:
    for log, record in announcements(epochs, "stock-commands", 2, 9):
        log.remove(record)

    said = texts(epochs.check()["I7"])

    assert "stock/p0: its epoch as announced in its inbox: 3 / 9" in said


def test_an_epoch_that_nobody_answers_for_is_named(epochs: Evidence) -> None:
    ((_, record),) = announcements(epochs, "stock-commands", 2, 1)

    record.headers = (("reason", b"table rebuilt"),)

    assert "epoch 1 of stock/p0: its operator / none" in texts(epochs.check()["I13"])


def test_an_announcement_that_the_ledger_forgot_is_named(epochs: Evidence) -> None:
    sources = epochs.tables["sink_sources"]
    row = next(row for row in sources if row["source"] == "announced stock/p0")

    sources.remove(row)

    assert "epochs announced" in texts(epochs.check()["I7.postgres"])


def test_a_foreign_event_is_named(day: Evidence) -> None:
    log = day.logs["order-events", 1]

    log.append(Record(len(log), 0, b"k", b'{"event":"order.gone"}', ()))
    found = day.check()["I7"]

    assert found.figures["foreign"] == 1
    assert "not an event with CloudEvents headers" in texts(found)


def test_an_event_under_a_wrong_type_is_named(day: Evidence) -> None:
    _, record, _ = seen_once(day, "order-events", lambda e: e["event"] == "order.case")

    record.headers = tuple(
        (name, b"com.orderflow.order.short.v1" if name == "ce_type" else value)
        for name, value in record.headers
    )

    assert "ce_type" in texts(day.check()["I7"])


# --- I8, I10: rows and money ----------------------------------------------------------------------


def test_an_order_row_that_says_another_status_is_named(day: Evidence) -> None:
    _, record, row = changelog_row(day, "orders-changelog", lambda _, r: r[7] == "PAID")
    row[7] = "PENDING_PAYMENT"

    put_row(record, row)

    said = texts(day.check()["I8"])
    assert f"{record.key.decode()} in the changelog, status: PAID / PENDING_PAYMENT" in said


def test_a_total_that_was_altered_on_the_way_is_named(day: Evidence) -> None:
    _, record, event = seen_once(
        day, "order-events", lambda e: e["event"] == "order.observed" and e["total_minor"]
    )

    altered(record, event, total_minor=event["total_minor"] + 1)

    assert "amounts as a statement of this order has them" in texts(day.check()["I10"])


def test_a_float_is_no_money(day: Evidence) -> None:
    _, record, event = seen_once(
        day, "order-events", lambda e: e["event"] == "order.observed" and e["total_minor"]
    )

    altered(record, event, total_minor=0.5 + event["total_minor"])

    assert f"a whole number of minor units / {event['total_minor'] + 0.5}" in texts(
        day.check()["I10"]
    )


# --- PostgreSQL -----------------------------------------------------------------------------------

#: table -> (column to alter, another value, the invariant that must break)
ALTERED: list[tuple[str, str, Any, str]] = [
    ("stock", "available", 7777, "I1.postgres"),
    ("stock", "version", 7777, "I1.postgres"),
    ("stock_ledger", "quantity", 7777, "I7.postgres"),
    ("stock_ledger", "cause", "nobody", "I7.postgres"),
    ("holds", "quantity", 7777, "T21.postgres"),
    ("holds", "version", 7777, "T21.postgres"),
    ("orders", "status", "DELIVERED", "I8.postgres"),
    ("orders", "reservation", "lost", "I8.postgres"),
    ("orders", "total_minor", 7777, "I8.postgres"),
    ("orders", "paid_at", 7777, "I8.postgres"),
    ("orders", "ignored", 7777, "I8.postgres"),
    ("order_lines", "quantity", 7777, "I8.postgres"),
    ("order_lines", "version", 7777, "I8.postgres"),
    ("order_events", "body", b"{}", "I7.postgres"),
    ("order_events", "version", 7777, "I7.postgres"),
    ("order_details", "body", b"", "I8.postgres"),
    ("releases_ignored", "verb", "ship", "I7.postgres"),
    ("orders_to_ship", "since", 7777, "I8.postgres"),
    ("orders_to_ship", "warehouse", "ningbo", "I8.postgres"),
    ("command_answers", "refusal", "too_old", "I7.postgres"),
    ("parked", "value", b"", "I12.postgres"),
    ("parked", "reason", "", "I12.postgres"),
    ("sink_positions", "next", 7777, "I5.postgres"),
    ("sink_sources", "number", 7777, "I7.postgres"),
]


@pytest.mark.parametrize(("table", "column", "value", "id_"), ALTERED)
def test_an_altered_row_of_postgres_is_named(
    day: Evidence, table: str, column: str, value: object, id_: str
) -> None:
    day.tables[table][0][column] = value

    found = day.check()

    assert violated(found) == {id_}
    assert found[id_].examples


@pytest.mark.parametrize("table", [*dict.fromkeys(row[0] for row in ALTERED)])
def test_a_lost_row_of_postgres_is_named(day: Evidence, table: str) -> None:
    del day.tables[table][0]

    found = day.check()

    assert violated(found) == {next(row[3] for row in reversed(ALTERED) if row[0] == table)}


@pytest.mark.parametrize("table", ["stock_ledger", "order_events", "releases_ignored"])
def test_a_row_written_twice_is_named(day: Evidence, table: str) -> None:
    day.tables[table].append(dict(day.tables[table][0]))

    found = day.check()

    assert violated(found) == {"I7.postgres"}
    assert found["I7.postgres"].violations == 1


# --- the feed's own log ---------------------------------------------------------------------------


def a_feed(day: Evidence) -> list[dict[str, Any]]:
    return [
        {"topic": topic, "partition": partition, "offset": record.offset, "kind": "created"}
        for (topic, partition), log in day.logs.items()
        if topic.startswith("raw-orders-")
        for record in log
    ]


def test_everything_the_feed_saw_acknowledged_is_there(day: Evidence) -> None:
    lines = a_feed(day)

    found = day.check(lines)["feed"]

    assert found.ok
    assert found.figures["found"] == found.figures["acknowledged"] == len(lines)


def test_an_acknowledged_message_that_is_gone_is_named(day: Evidence) -> None:
    lines = a_feed(day)

    lines.append({"topic": RAW, "partition": 1, "offset": 9_999, "kind": "paid"})
    found = day.check(lines)["feed"]

    assert texts(found) == f"{RAW}/1/9999: the paid that was acknowledged / no such record"


def test_an_acknowledged_message_with_other_bytes_is_named(day: Evidence) -> None:
    lines = a_feed(day)
    lines[0]["digest"] = "00"

    assert day.check(lines)["feed"].violations == 1


# --- whatever stands in a log ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(150))
def test_no_broken_byte_breaks_the_check(day: Evidence, seed: int) -> None:
    random = Random(seed)
    log = random.choice([log for place, log in sorted(day.logs.items()) if log])
    record = random.choice(log)
    value = bytearray(record.value or b"")
    value[random.randrange(len(value))] ^= 1 << random.randrange(8)

    record.value = bytes(value)
    found = day.check()

    assert len(found) >= 20


# --- edits, parcels, returns, quotas, shortfalls --------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "change", "invariant", "words"),
    [
        ("draw", {"quota": "other"}, "I2", "left of other"),
        ("count_short", {"shortfall": 0}, "I1", "shortfall"),
        ("cover", {"quantity": 2}, "I1", "shortfall"),
        ("return", {"operator": ""}, "I13", "its operator"),
        ("give_back", {"at_ms": 5}, "I2", "given back by nobody"),
        ("release", {"held": 7}, "T21", "/ "),
        ("ship", {"held": 7}, "T21", "/ "),
    ],
)
def test_a_move_that_says_something_else_is_named(
    day: Evidence, verb: str, change: dict[str, Any], invariant: str, words: str
) -> None:
    _, record, event = seen_once(
        day,
        "stock-events",
        lambda e: e.get("verb") == verb and (verb != "give_back" or "operator" not in e),
    )

    altered(record, event, **change)

    assert words in texts(day.check()[invariant])


def test_a_return_that_the_stock_never_saw_is_named(day: Evidence) -> None:
    log, record, event = seen_once(day, "stock-events", lambda e: e.get("verb") == "return")

    log.remove(record)
    found = day.check()

    assert f"{event['order']}: {event['sku']} that came back, in stock: 1 / 0" in texts(found["I3"])


def test_a_return_of_more_than_was_told_is_named(day: Evidence) -> None:
    _, record, row = changelog_row(
        day, "orders-changelog", lambda _, r: any(demand[6] for demand in r[36])
    )
    back = next(demand for demand in row[36] if demand[6])

    back[6] += 5
    put_row(record, row)
    found = day.check()

    assert "what came back" in texts(found["I8"])
    assert "at most the" in texts(found["I2"])


def test_a_parcel_the_row_forgot_is_named(day: Evidence) -> None:
    _, record, row = changelog_row(
        day, "orders-changelog", lambda _, r: any(demand[5] for demand in r[36])
    )
    gone = next(demand for demand in row[36] if demand[5])

    gone[5] -= 1
    put_row(record, row)

    assert f"{gone[0]}: shipped: " in texts(day.check()["T21"])


@pytest.mark.parametrize("event", ["stock.shortfall", "stock.quota"])
def test_a_shortfall_or_quota_told_otherwise_is_named(day: Evidence, event: str) -> None:
    _, record, said = seen_once(day, "stock-events", lambda e: e["event"] == event)
    amount = "shortfall" if event == "stock.shortfall" else "left"

    altered(record, said, **{amount: said[amount] + 1})

    assert said["sku"] in texts(day.check()["I2"])


@pytest.mark.parametrize(
    ("table", "column", "invariant"),
    [
        ("quotas", "remains", "I1.postgres"),
        ("shortfalls", "shortfall", "I7.postgres"),
        ("returns", "quantity", "I7.postgres"),
    ],
)
def test_a_row_about_a_movement_that_is_altered_or_lost_is_named(
    day: Evidence, table: str, column: str, invariant: str
) -> None:
    altered_day, lost = day, deepcopy(day)

    altered_day.tables[table][0][column] += 1
    lost.tables[table].pop()

    assert violated(altered_day.check()) == {invariant}
    assert violated(lost.check()) == {invariant}


# --- parcels: I6, I13 -----------------------------------------------------------------------------


def test_a_parcel_that_is_counted_wrong_is_found(day: Evidence) -> None:
    _, record, event = seen_once(day, "order-events", lambda e: e.get("parcel") == 2)

    altered(record, event, parcel=3)
    found = day.check()

    assert "its number: 2 / 3" in texts(found["I6"])


def test_a_parcel_that_forgets_those_before_it_is_found(day: Evidence) -> None:
    _, record, event = seen_once(day, "order-events", lambda e: e.get("parcel") == 2)

    altered(record, event, earlier=[])
    found = day.check()

    assert "those before" in texts(found["I6"])


def test_a_parcel_of_nothing_is_found(day: Evidence) -> None:
    _, record, event = seen_once(day, "order-events", lambda e: e.get("parcel") == 1)

    altered(record, event, lines=[])

    assert "something in the parcel" in texts(day.check()["I6"])


@pytest.mark.parametrize("change", [{"quantity": 99}, {"quantity": 0}, {"left": 9}, {"left": -1}])
def test_a_parcel_with_more_of_a_line_than_was_ordered_is_found(
    day: Evidence, change: dict[str, int]
) -> None:
    _, record, event = seen_once(day, "order-events", lambda e: e.get("parcel") == 1)

    altered(record, event, lines=[event["lines"][0] | change])

    assert "left at most" in texts(day.check()["I6"])


@pytest.mark.parametrize("word", ["operator", "reason", "command"])
def test_a_parcel_that_nobody_answers_for_is_found(day: Evidence, word: str) -> None:
    _, record, event = seen_once(day, "order-events", lambda e: e.get("parcel") == 1)

    altered(record, event, **{word: ""})
    found = day.check()

    assert f"its {word}" in texts(found["I13"])
