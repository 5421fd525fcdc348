"""
Callbacks on the real PostgreSQL and a real subscriber's server, which is slow, wrong, busy or dead.

Nothing is lost, whatever the other side does; of one order everything comes in its order; what
nobody takes is an exception that a person can send again.
"""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
import hmac
import json
import random
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections import Counter
from datetime import timedelta
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from agents.callbacks import Filter
from agents.deliveries import BreakerRule, Schedule
from schemas.errors import LedgerUnavailable, Rejected
from schemas.orders import Case, CaseSettled, Choice, Ignored, StatementIgnored
from streams.alerting.sources import Ledger
from streams.callbacks import subscribers
from streams.callbacks.posting import KIND, Poster
from streams.callbacks.sink import CallbackSink
from streams.callbacks.subscribers import AsItIs, NoSuchSubscriber, Wish
from streams.delivering.metrics import Metrics
from streams.delivering.sender import Sender, lease_of
from streams.delivering.store import Store
from streams.exceptions import queue, showing
from streams.postgres.ledger import NotTheOwner
from tests.integration.at_the_gate import stack_settings
from tests.integration.databases import ROOT, Database, database, empty  # noqa: F401
from tests.integration.receiving import (
    FAST,
    TOPIC,
    Receiver,
    a_batch,
    a_record,
    added,
    all_ended,
    an_event,
    receiver,
    sending,
    states,
    told,
    until,
)

pytestmark = pytest.mark.stack

ORDERS = [f"taobao:qingyou:{number}" for number in range(8)]


# --- into the queue -------------------------------------------------------------------------------


async def test_an_event_is_queued_once_for_everyone_who_wants_it(database: Database):
    there = Receiver(port=9)
    everything = await added(database, there, "everything")
    reserved = await added(database, there, "reserved", wanted=Filter(types=("order.reserved",)))
    of_jd = await added(database, there, "jd", wanted=Filter(shops=("jd",)))
    sink = CallbackSink(database.callbacks)
    events = [an_event("taobao:a:1", 1), an_event("taobao:a:1", 2), an_event("jd:b:2", 1)]
    # Nobody is told that nothing changed.
    ignored = StatementIgnored(
        order="jd:b:2", version=2, at_ms=events[0].at_ms, cause="x", why=Ignored.STALE,
        status=None, stated_ms=0, digest="",
    )  # fmt: skip
    records = [a_record(nth, event) for nth, event in enumerate([*events, ignored])]
    # Its keeper was killed and said the last two again, at other places.
    repeats = [a_record(4 + nth, event, 2 + nth) for nth, event in enumerate(events[1:])]

    await sink.starts([(TOPIC, 0)])
    for some in (records[:1], records[1:], repeats):
        await sink.put(sink.prepare([a_batch(some)]))
    await sink.close()

    rows = await database.rows("SELECT destination, about, lane FROM deliveries ORDER BY id")
    assert Counter(rows) == Counter(
        {
            (everything.id, "order.reserved", "taobao:a:1"): 1,
            (everything.id, "order.status", "taobao:a:1"): 1,
            (everything.id, "order.reserved", "jd:b:2"): 1,
            (reserved.id, "order.reserved", "taobao:a:1"): 1,
            (reserved.id, "order.reserved", "jd:b:2"): 1,
            (of_jd.id, "order.reserved", "jd:b:2"): 1,
        }
    )
    assert await database.rows("SELECT topic, partition, next FROM callback_positions") == [
        (TOPIC, 0, 6)
    ]


async def test_nobody_is_told_of_what_was_decided_before_it_was_added(database: Database):
    await added(database, Receiver(port=9))

    await told(database, an_event("taobao:a:1", 1, at_ms=1), an_event("taobao:a:1", 2))

    assert await database.rows("SELECT about FROM deliveries") == [("order.status",)]


async def test_a_round_whose_commit_nobody_heard_of_is_written_once(database: Database):
    await added(database, Receiver(port=9))
    sink = CallbackSink(database.callbacks)
    await sink.starts([(TOPIC, 0)])
    first = sink.prepare([a_batch([a_record(0, an_event(ORDERS[0], 1))])])
    second = sink.prepare([a_batch([a_record(1, an_event(ORDERS[0], 2))])])
    await sink.put(first)
    async with database.connected("callbacks") as other:
        # The connection breaks off: the answer may have been lost with it.
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'orderflow-callbacks' AND datname = current_database()"
        )
    try:
        await sink.put(second)
    except LedgerUnavailable:
        await sink.put(second)  # the engine hands over the very same round
    # It was written, and the answer was lost.
    sink._unsure = True
    await sink.put(second)
    await sink.close()

    assert await states(database) == {"waiting": 2}


async def test_of_two_owners_of_a_partition_one_writes(database: Database):
    await added(database, Receiver(port=9))
    old, new = CallbackSink(database.callbacks), CallbackSink(database.callbacks)
    for each in (old, new):
        await each.starts([(TOPIC, 0)])
    rounds = [each.prepare([a_batch([a_record(0, an_event(ORDERS[0], 1))])]) for each in (old, new)]

    await new.put(rounds[1])
    with pytest.raises(NotTheOwner):
        await old.put(rounds[0])
    for each in (old, new):
        await each.close()

    assert await states(database) == {"waiting": 1}


async def test_what_cannot_be_read_is_parked_once_and_stops_nobody(database: Database):
    await added(database, Receiver(port=9))
    sink = CallbackSink(database.callbacks)
    await sink.starts([(TOPIC, 0)])
    good = a_record(1, an_event(ORDERS[0], 1))
    bad = SimpleNamespace(offset=0, timestamp=good.timestamp, key=None, value=b"{", headers=[])

    await sink.put(sink.prepare([a_batch([bad, good])]))
    await sink.close()

    row = await queue.one(database.reader, f"{TOPIC}/0/0")
    assert row is not None
    assert (row["stage"], row["cause"]) == ("callback", "unreadable")
    assert "nobody reads it again" in queue.doubt(row)
    assert await states(database) == {"waiting": 1}


# --- out of it ------------------------------------------------------------------------------------


async def test_a_subscriber_gets_what_happened_signed_as_the_standard_says(database: Database):
    async with receiver() as there:
        made = await added(database, there)
        settled = CaseSettled(
            order=ORDERS[0], version=2, at_ms=an_event("", 1).at_ms, cause="x",
            case=Case.PAID_BUT_SHORT, choice=Choice.REFUND, command="c",
            operator="Han Meimei", reason="rang up",
        )  # fmt: skip
        await told(database, an_event(ORDERS[0], 1), settled)
        async with sending(database):
            await until(lambda: len(there.got) == 2)

    for got in there.got:
        key = b64decode(made.secret.removeprefix("whsec_"))
        signed = f"{got.id}.{got.headers['webhook-timestamp']}.".encode() + got.body
        expected = b64encode(hmac.new(key, signed, sha256).digest()).decode()
        assert got.headers["webhook-signature"] == f"v1,{expected}"
        assert b"Meimei" not in got.body
        assert b"rang up" not in got.body
    assert there.versions(ORDERS[0]) == [1, 2]
    [row, _] = await subscribers.deliveries(database.reader, "wms", 10)
    assert (row["state"], row["attempts"]) == ("delivered", 1)
    assert row["tried"][0]["status"] == 204
    assert row["tried"][0]["latency_ms"] >= 0


async def test_two_secrets_sign_while_one_is_changed_and_no_third(database: Database):
    async with receiver() as there:
        first = await added(database, there)
        second = await subscribers.rotate(database.operations, "wms", "mei", "yearly")
        async with sending(database):
            await told(database, an_event(ORDERS[0], 1))
            await until(lambda: len(there.got) == 1)
            third = await subscribers.rotate(database.operations, first.id, "mei", "again")
            await told(database, an_event(ORDERS[0], 2))
            await until(lambda: len(there.got) == 2)

    def right(nth: int, secret: str) -> bool:
        got = there.got[nth]
        signed = f"{got.id}.{got.headers['webhook-timestamp']}.".encode() + got.body
        said = hmac.new(b64decode(secret.removeprefix("whsec_")), signed, sha256).digest()
        return f"v1,{b64encode(said).decode()}" in got.headers["webhook-signature"].split(" ")

    assert [right(0, each.secret) for each in (first, second, third)] == [True, True, False]
    assert [right(1, each.secret) for each in (first, second, third)] == [False, True, True]


async def test_what_fails_is_tried_again_and_what_comes_later_of_that_order_waits(
    database: Database,
):
    def answer(_id: str, said: dict[str, Any], before: int) -> int:
        return 500 if said["data"]["version"] == 1 and before < 3 else 200

    async with receiver(answer) as there:
        await added(database, there)
        await told(
            database, *(an_event(order, version) for version in (1, 2, 3) for order in ORDERS)
        )
        async with sending(database):
            await until(lambda: len(there.ids()) == 3 * len(ORDERS))
            await until(lambda: all_ended(database))

    assert all(there.versions(order) == [1, 2, 3] for order in ORDERS)
    assert there.overlapped == []
    assert Counter(Counter(each.id for each in there.got).values()) == {4: 8, 1: 16}
    assert await states(database) == {"delivered": 24}


async def test_no_more_requests_are_on_their_way_than_a_subscriber_takes_at_once(
    database: Database,
):
    async def answer(*_: Any) -> int:
        await asyncio.sleep(0.05)
        return 200

    async with receiver(answer) as there:
        await added(database, there, at_once=3)
        await told(database, *(an_event(f"jd:a:{number}", 1) for number in range(30)))
        async with sending(database), sending(database):
            await until(lambda: len(there.ids()) == 30)

    assert 1 < there.most <= 3
    assert len(there.got) == 30


async def test_retry_after_is_kept_for_all_that_waits_there(database: Database):
    def answer(_id: str, _said: dict[str, Any], _before: int) -> web.Response:
        if len(there.got) == 0:
            return web.Response(status=429, headers={"Retry-After": "2"})
        return web.Response()

    async with receiver(answer) as there:
        await added(database, there, at_once=1)
        await told(database, *(an_event(order, 1) for order in ORDERS))
        async with sending(database):
            await until(lambda: len(there.ids()) == len(ORDERS))

    assert there.got[0].status == 429
    assert min(each.at_s for each in there.got[1:]) - there.got[0].at_s >= 1.9


async def test_nobody_takes_it_five_times_and_it_is_an_exception_that_a_person_sends_again(
    database: Database,
):
    broken = True

    def answer(_id: str, said: dict[str, Any], _before: int) -> web.Response:
        if broken and said["data"]["version"] == 1:
            return web.Response(status=500, text='{"error": "mail ann@example.com"}')
        return web.Response()

    async with receiver(answer) as there:
        made = await added(database, there)
        await told(database, an_event(ORDERS[0], 1), an_event(ORDERS[0], 2))
        async with sending(database) as metrics:
            # What comes later of that order goes on once it is parked.
            await until(lambda: there.versions(ORDERS[0]) == [2])
            await until(lambda: all_ended(database))

            assert Counter(each.version for each in there.got) == {1: 5, 2: 1}
            parked = await queue.listed(database.reader, queue.Kind(stage="callback"), 10)
            [row] = parked.exceptions
            assert (row["cause"], row["platform"], row["shop"]) == (
                "not_delivered", "taobao", "qingyou",
            )  # fmt: skip
            assert "HTTP 500" in row["reason"]
            assert made.id in row["reason"]
            whole = await queue.one(database.reader, row["id"])
            assert showing.facts(whole or {}, whole=False)["retry"] == "possible"
            assert metrics.registry.get_sample_value(
                "orderflow_callback_parked_total", {"kind": "subscriber"}
            ) == 1  # fmt: skip

            # In vain: it is the same exception, open again.
            [done] = await queue.retry(
                stack_settings(""), database.operations, [row["id"]], "mei", "they say it works"
            )
            assert done.outcome == "retried"
            await until(lambda: sum(each.version == 1 for each in there.got) == 10)
            await until(lambda: all_ended(database))
            again = await queue.listed(database.reader, queue.Kind(cause="not_delivered"), 10)
            assert [(each["id"], each["attempts"]) for each in again.exceptions] == [(row["id"], 2)]

            broken = False
            await queue.retry(stack_settings(""), database.operations, [row["id"]], "mei", "mended")
            await until(lambda: there.versions(ORDERS[0]) == [2, 1])
            await until(lambda: all_ended(database))

    assert await states(database) == {"delivered": 2}
    assert (await queue.listed(database.reader, queue.Kind(stage="callback"), 10)).open == 0
    tried = (await subscribers.deliveries(database.reader, made.id, 10))[-1]["tried"]
    assert len(tried) == 11
    assert tried[0]["said"] == '{"error":"mail ***"}'


async def test_what_was_parked_is_not_sent_to_one_that_was_removed(database: Database):
    async with receiver(lambda *_: 500) as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1))
        async with sending(database):
            await until(lambda: all_ended(database))
        await subscribers.remove(database.operations, "wms", "mei", "gone")
        [row] = (await queue.listed(database.reader, queue.Kind(stage="callback"), 10)).exceptions

        [done] = await queue.retry(
            stack_settings(""), database.operations, [row["id"]], "mei", "try"
        )
        [left] = await queue.discard(database.operations, [row["id"]], "mei", "nobody is there")

    assert (done.outcome, left.outcome) == ("refused", "discarded")
    assert "removed" in done.said


async def test_one_that_says_it_is_gone_is_told_nothing_until_a_person_resumes_it(
    database: Database,
):
    gone = True
    async with receiver(lambda *_: 410 if gone else 200) as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1), an_event(ORDERS[0], 2))
        async with sending(database):
            await until(lambda: standing(database, "gone"))
            await told(database, an_event(ORDERS[1], 1))
            assert len(there.got) == 1

            gone = False
            await subscribers.resume(database.operations, "wms", "mei", "they are back")
            await until(lambda: there.versions(ORDERS[0]) == [1, 2])

    # What happened while it was gone it is not told.
    assert there.versions(ORDERS[1]) == []
    done = [each["did"] for each in (await subscribers.one(database.reader, "wms"))["changes"]]
    assert done == ["added", "gone", "resumed"]


async def standing(database: Database, wanted: str) -> bool:
    return bool(await database.value("SELECT standing FROM delivery_destinations") == wanted)


async def test_a_redirect_is_not_followed(database: Database):
    async with receiver() as there:
        elsewhere = f"http://127.0.0.1:{there.port}/elsewhere"
        there.answer = lambda *_: web.Response(status=307, headers={"Location": elsewhere})
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1))
        async with sending(database, Schedule(attempts_max=2, first_wait_ms=10)):
            await until(lambda: all_ended(database))

    assert there.paths == ["/hooks"] * 2
    [row] = await subscribers.deliveries(database.reader, "wms", 1)
    assert (row["state"], row["tried"][0]["status"]) == ("parked", 307)
    assert "redirects are not followed" in row["tried"][0]["why"]


async def test_one_who_does_not_answer_in_time_or_says_too_much_is_cut_off(database: Database):
    async def answer(_id: str, said: dict[str, Any], _before: int) -> web.Response:
        if said["data"]["order"] == ORDERS[0]:
            await asyncio.sleep(600)
        return web.Response(status=400, body=b'"' + b"x" * 4_000_000 + b'"')

    async with receiver(answer) as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1), an_event(ORDERS[1], 1))
        rule = Schedule(attempts_max=1)
        async with sending(database, rule, answer_within_s=6):
            await until(lambda: all_ended(database))

    big, slow = await subscribers.deliveries(database.reader, "wms", 2)
    assert (slow["tried"][0]["outcome"], slow["tried"][0]["status"]) == ("away", None)
    assert "no answer within 6 s" in slow["tried"][0]["why"]
    assert (big["tried"][0]["status"], len(big["tried"][0]["said"]) <= 300) == (400, True)


async def test_a_host_that_is_dead_is_left_alone_and_holds_up_nobody_else(database: Database):
    rule = BreakerRule(after=4, for_ms=1_500)
    async with receiver() as well, receiver() as dead:
        await added(database, well, "well")
        await added(database, dead, "dead", at_once=2)
        dead_port = dead.port
        await told(database, *(an_event(f"jd:a:{number}", 1) for number in range(40)))
        dead.answer = lambda *_: 503
        async with (
            sending(database, Schedule(first_wait_ms=600_000), rule),
            sending(database, Schedule(first_wait_ms=600_000), rule),
        ):
            await until(lambda: len(well.ids()) == 40)
            await until(lambda: is_open(database))
            # One more was under way when it opened; then one at a time, every 1.5 s.
            met = len(dead.got)
            assert 4 <= met < 20
            async with Ledger(database.reader) as figures:
                [reading] = await figures.callback_hosts()
                assert reading.subject == f"127.0.0.1:{dead_port}"
                assert [each.subject for each in await figures.callbacks_oldest()] == [
                    "subscriber " + (await subscribers.one(database.reader, "dead"))["id"]
                ]
            # It is well again: the next attempt finds out, and what waited is sent.
            dead.answer = lambda *_: 200
            await until(lambda: len(dead.ids()) >= 40 - met)
            await until(lambda: is_closed(database))

    # What was not tried used no attempt.
    again = await database.rows(
        "SELECT id, attempts, tried.* FROM deliveries JOIN delivery_attempts AS tried"
        " ON delivery = id WHERE state = 'delivered' AND attempts > 1"
    )
    assert again == []


async def test_the_one_attempt_to_see_is_not_spent_where_nothing_can_be_sent(database: Database):
    await added(database, Receiver(port=9), at_once=1)
    await told(database, an_event(ORDERS[0], 1), an_event(ORDERS[1], 1))
    async with Store(database.callbacks, timedelta(seconds=30), BreakerRule()) as store:
        [(kind, destination)] = await store.due(["subscriber"])
        [under_way] = await store.claim(kind, destination, 10)
        await database.rows(
            "INSERT INTO delivery_hosts SELECT host, 'open', 10, now() FROM delivery_destinations"
            " RETURNING 1"
        )

        assert await store.claim(kind, destination, 10) == []  # one is under way already
        assert await database.rows("SELECT circuit FROM delivery_hosts") == [("open",)]
        await store.release([under_way])
        [seeing] = await store.claim(kind, destination, 10)
        assert await database.rows("SELECT circuit FROM delivery_hosts") == [("trying",)]
        assert await store.claim(kind, destination, 10) == []
        # The house could not say where to: it is tried again at once.
        await store.release([seeing])
        assert len(await store.claim(kind, destination, 10)) == 1


async def is_open(database: Database) -> bool:
    return await database.rows("SELECT circuit FROM delivery_hosts") == [("open",)]


async def is_closed(database: Database) -> bool:
    return await database.rows("SELECT circuit FROM delivery_hosts") == []


async def test_a_schedule_outlives_the_process_that_made_it(database: Database):
    async with receiver(lambda _id, _said, before: 500 if before == 0 else 200) as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1))
        slow = Schedule(first_wait_ms=2_000)
        async with sending(database, slow):
            await until(lambda: tried(database, 1))
        waits = await database.value(
            "SELECT due_at - at FROM deliveries JOIN delivery_attempts ON delivery = id"
        )
        assert waits >= timedelta(seconds=1.9)
        async with sending(database, slow):
            await until(lambda: all_ended(database))

    assert len(there.got) == 2
    assert there.got[1].at_s - there.got[0].at_s >= 1.9


async def tried(database: Database, many: int) -> bool:
    return bool(await database.value("SELECT count(*) FROM delivery_attempts") >= many)


async def test_one_whose_name_has_become_private_is_not_sent_to(database: Database):
    # It was added while this machine was allowed; the sender does not allow it.
    async with receiver() as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1))
        process = a_sender(database, loopback=False, ORDERFLOW_CALLBACKS_ATTEMPTS_MAX="2")
        try:
            await until(lambda: all_ended(database))
        finally:
            await ended(process)

    assert there.got == []
    [row] = await subscribers.deliveries(database.reader, "wms", 1)
    assert {each["outcome"] for each in row["tried"]} == {"forbidden"}


# --- processes that die ---------------------------------------------------------------------------


def a_sender(database: Database, *, loopback: bool = True, **env: str) -> "subprocess.Popen[bytes]":
    """`orderflow callbacks run`, with short waits."""
    around = {"PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "callbacks", "run"],
        env=around
        | {
            "ORDERFLOW_KAFKA": "127.0.0.1:1",
            "ORDERFLOW_POSTGRES_CALLBACKS": database.callbacks,
            "ORDERFLOW_CALLBACKS_LOOPBACK": str(loopback),
            "ORDERFLOW_CALLBACKS_FIRST_WAIT": "PT0.05S",
            "ORDERFLOW_CALLBACKS_LOOK_EVERY": "PT0.05S",
            "ORDERFLOW_CALLBACKS_ANSWER_WITHIN": "PT5S",
            "ORDERFLOW_CALLBACKS_ATTEMPTS_MAX": "20",
            "ORDERFLOW_CALLBACKS_BREAKER_AFTER": "1000",
        }
        | env,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


async def ended(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 60) == 0


async def test_senders_that_are_killed_and_stopped_lose_nothing_and_keep_the_order(
    database: Database,
):
    chance = random.Random(7)

    async def answer(*_: Any) -> int:
        await asyncio.sleep(chance.random() * 0.03)
        return 500 if chance.random() < 0.1 else 200

    orders = [f"jd:a:{number}" for number in range(60)]
    async with receiver(answer) as there:
        await added(database, there, at_once=6)
        await told(
            database, *(an_event(order, version) for version in range(1, 7) for order in orders)
        )
        processes = [a_sender(database), a_sender(database)]
        try:
            for so_far in (40, 120):
                await until(lambda many=so_far: len(there.ids()) >= many)
                victim = processes.pop(0)
                victim.kill()
                await asyncio.to_thread(victim.wait, 30)
                # Leases of whoever is dead lapse by themselves; a test need not wait for that.
                await database.rows(
                    "UPDATE deliveries SET leased_until = clock_timestamp()"
                    " WHERE leased_until IS NOT NULL AND state = 'waiting' RETURNING 1"
                )
                processes.append(a_sender(database))
            await until(lambda: all_ended(database), lambda: (len(there.ids()), len(there.got)))
        finally:
            for process in processes:
                await ended(process)

    expected = await database.rows("SELECT DISTINCT message FROM deliveries")
    assert there.ids() == {message for (message,) in expected}
    assert len(there.ids()) == 360
    assert all(there.versions(order) == [1, 2, 3, 4, 5, 6] for order in orders)
    assert await states(database) == {"delivered": 360}


async def test_what_was_being_sent_when_its_sender_died_is_sent_again_under_the_same_id(
    database: Database,
):
    async def answer(_id: str, _said: dict[str, Any], before: int) -> int:
        if not before and not there.got:
            there.got.append(SimpleNamespace(id=_id, status=0, order="", version=0))  # type: ignore[arg-type]
            await asyncio.sleep(600)
        return 200

    async with receiver(answer) as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1), an_event(ORDERS[0], 2))
        process = a_sender(database)
        await until(lambda: there.now == 1)
        process.kill()
        await asyncio.to_thread(process.wait, 30)
        # Nobody else touches it before its lease is over.
        left = await database.value(
            "SELECT leased_until - clock_timestamp() FROM deliveries WHERE leased_by IS NOT NULL"
        )
        assert timedelta(0) < left <= timedelta(seconds=25)
        await database.rows(
            "UPDATE deliveries SET leased_until = clock_timestamp() WHERE leased_by IS NOT NULL"
            " RETURNING 1"
        )
        async with sending(database):
            await until(lambda: there.versions(ORDERS[0]) == [1, 2])
            await until(lambda: all_ended(database))

    assert there.got[0].id == there.taken()[0].id
    assert await database.rows("SELECT attempts FROM deliveries ORDER BY id") == [(2,), (1,)]


@pytest.mark.parametrize(
    ("place", "requests"), [("callbacks-before-send", 1), ("callbacks-after-2xx", 2)]
)
async def test_a_sender_that_dies_around_its_request_sends_under_one_id(
    database: Database, place: str, requests: int
):
    """Before, nobody has heard of it; after a 2xx that was not written down, it is said again."""
    async with receiver() as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1))
        victim = a_sender(database, ORDERFLOW_FAILPOINT=f"{place}:1")
        assert await asyncio.to_thread(victim.wait, 30) == -signal.SIGKILL
        assert len(there.got) == requests - 1
        assert await states(database) == {"waiting": 1}
        await database.rows("UPDATE deliveries SET leased_until = clock_timestamp() RETURNING 1")
        process = a_sender(database)
        try:
            await until(lambda: all_ended(database))
        finally:
            await ended(process)

    assert (len(there.got), len(there.ids())) == (requests, 1)
    assert await states(database) == {"delivered": 1}


async def test_whoever_lost_the_lease_changes_nothing(database: Database):
    from agents.deliveries import Answer, Outcome, State, decided  # noqa: PLC0415

    await added(database, Receiver(port=9))
    await told(database, an_event(ORDERS[0], 1), an_event(ORDERS[0], 2))
    rule = BreakerRule()
    async with Store(database.callbacks, timedelta(seconds=30), rule) as store:
        [(kind, destination)] = await store.due(["subscriber"])
        [held] = await store.claim(kind, destination, 10)
        assert await store.claim(kind, destination, 10) == []  # the second waits for the first
        await database.rows(
            "UPDATE deliveries SET leased_until = now() WHERE leased_by IS NOT NULL RETURNING 1"
        )
        [taken] = await store.claim(kind, destination, 10)
        answer = Answer(Outcome.TAKEN, 200, "HTTP 200")

        late = await store.tried(held, answer, decided(FAST, answer, 1, 0), 5, stage="callback")
        own = await store.tried(taken, answer, decided(FAST, answer, 2, 0), 5, stage="callback")

    assert (held.id, late, own) == (taken.id, None, State.DELIVERED)
    assert await states(database) == {"delivered": 1, "waiting": 1}


async def test_a_database_that_breaks_off_loses_nothing(database: Database):
    orders = [f"jd:a:{number}" for number in range(50)]
    async with receiver() as there:
        await added(database, there, at_once=8)
        await told(
            database, *(an_event(order, version) for version in (1, 2, 3) for order in orders)
        )
        async with sending(
            database, Schedule(attempts_max=20, first_wait_ms=40), answer_within_s=5
        ):
            for so_far in (10, 50, 100):
                await until(lambda many=so_far: len(there.ids()) >= many)
                async with database.connected("callbacks") as other:
                    await other.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'orderflow-callbacks'"
                        " AND datname = current_database()"
                    )
            await until(lambda: all_ended(database), lambda: len(there.ids()))

    assert len(there.ids()) == 150
    assert all(there.versions(order) == [1, 2, 3] for order in orders)
    assert await states(database) == {"delivered": 150}


async def test_the_process_says_how_it_is(database: Database):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with receiver() as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1))
        process = a_sender(database, ORDERFLOW_HEALTH_PORT=str(port))
        try:
            await until(lambda: all_ended(database))
            async with aiohttp.ClientSession() as session:
                page = {}
                for path in ("healthz", "readyz", "metrics"):
                    async with session.get(f"http://127.0.0.1:{port}/{path}") as answer:
                        assert answer.status == 200, path
                        page[path] = await answer.text()
        finally:
            await ended(process)

    taken_once = 'orderflow_callback_attempts_total{kind="subscriber",outcome="taken"} 1.0'
    assert json.loads(page["readyz"]) == {"ready": True, "missing": []}
    assert taken_once in page["metrics"]
    assert 'orderflow_callback_waiting{kind="subscriber"}' in page["metrics"]


async def test_a_sender_that_slept_through_its_lease_begins_nothing(database: Database):
    async with receiver() as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1))
        async with (
            Store(database.callbacks, lease_of(timedelta(seconds=5)), BreakerRule()) as store,
            Poster(store, loopback=True) as poster,
        ):
            sender = Sender(
                store, {KIND: poster.kind}, FAST, Metrics(), answer_within=timedelta(seconds=5),
                look_every=timedelta(seconds=1), keep=timedelta(days=1),
            )  # fmt: skip
            [late] = await store.claim(*(await store.due([KIND]))[0], 10)

            await sender._attempt(late, time.monotonic() - 21)
            assert there.got == []
            await sender._attempt(late, time.monotonic() - 10)

    assert len(there.ids()) == 1
    assert await states(database) == {"delivered": 1}


# --- people ---------------------------------------------------------------------------------------


async def test_a_private_address_is_refused_in_one_sentence(database: Database):
    for url, says in {
        "https://10.0.0.7/hooks": "10.0.0.7 is a private address: nothing is sent there",
        "https://169.254.169.254/": "private address",
        "http://shop.example.org/": "https:// alone",
    }.items():
        with pytest.raises(Rejected, match=says):
            await subscribers.add(database.operations, Wish("x", url), "mei", "why")

    assert await database.rows("SELECT * FROM subscribers") == []


async def test_what_waits_while_one_is_paused_is_sent_when_it_is_resumed(database: Database):
    async with receiver() as there:
        await added(database, there)
        await subscribers.pause(database.operations, "wms", "mei", "they move house")
        await told(database, an_event(ORDERS[0], 1))
        async with sending(database):
            with pytest.raises(AsItIs, match="is paused, and cannot be paused"):
                await subscribers.pause(database.operations, "wms", "mei", "again")
            assert there.got == []
            [row] = await subscribers.listed(database.reader)
            assert (row["standing"], row["waiting"]) == ("paused", 1)
            await subscribers.resume(database.operations, "wms", "mei", "they are back")
            await until(lambda: len(there.ids()) == 1)


async def test_one_that_is_removed_is_told_nothing_more(database: Database):
    async with receiver() as there:
        made = await added(database, there)
        await told(database, an_event(ORDERS[0], 1))
        await subscribers.remove(database.operations, "wms", "mei", "contract ended")
        await told(database, an_event(ORDERS[0], 2))

        assert await states(database) == {"cancelled": 1}
        assert await subscribers.listed(database.reader) == []
        with pytest.raises(AsItIs, match="removed"):
            await subscribers.rotate(database.operations, made.id, "mei", "why")
        with pytest.raises(AsItIs, match="choose another name"):
            await added(database, there)
        with pytest.raises(NoSuchSubscriber):
            await subscribers.pause(database.operations, "nobody", "mei", "why")


@pytest.mark.parametrize("role", ["ledger", "reader", "poller", "operations"])
async def test_only_callbacks_read_secrets(database: Database, role: str):
    made = await added(database, Receiver(port=9))
    async with database.connected(role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT secret FROM subscriber_secrets")
    async with database.connected("callbacks") as connection:
        assert await connection.fetchval("SELECT secret FROM subscriber_secrets") == made.secret
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE subscriber_secrets SET secret = 'x'")


async def test_what_is_shown_of_a_url_ends_before_its_query(database: Database):
    there = Receiver(port=9)
    wish = Wish("wms", there.url + "?token=hunter2")
    await subscribers.add(database.operations, wish, "mei", "why", loopback=True)

    row = await subscribers.one(database.reader, "wms")

    assert "hunter2" not in repr(row)
    assert row["changes"][0]["by"] == "mei"


async def test_what_ended_long_ago_is_forgotten_but_not_what_a_person_has_to_see(
    database: Database,
):
    async with receiver(
        lambda _id, said, _n: 500 if said["data"]["version"] == 1 else 200
    ) as there:
        await added(database, there)
        await told(database, an_event(ORDERS[0], 1), an_event(ORDERS[0], 2))
        async with sending(database):
            await until(lambda: all_ended(database))
    await database.rows("UPDATE deliveries SET ended_at = ended_at - interval '2 days' RETURNING 1")
    async with Store(database.callbacks, timedelta(seconds=30), BreakerRule()) as store:
        assert await store.forget(timedelta(days=3)) == 0
        assert await store.forget(timedelta(days=1)) == 1
        assert await states(database) == {"parked": 1}
        [row] = (await queue.listed(database.reader, queue.Kind(stage="callback"), 10)).exceptions
        await queue.discard(database.operations, [row["id"]], "mei", "too old")
        assert await store.forget(timedelta(days=1)) == 1
    assert await database.value("SELECT count(*) FROM delivery_attempts") == 0
