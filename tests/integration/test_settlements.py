"""Settlement files on the real PostgreSQL: taken once, matched by order, resolved on record."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from agents.settlements import Verdict
from schemas.base import order_key
from schemas.errors import LedgerUnavailable
from streams.clock import new_id
from streams.importing.files import BadFile
from streams.postgres import schema
from streams.postgres.queries import sql
from streams.settings import Settings
from streams.settlements import taking
from streams.settlements.reading import Reading
from streams.settlements.store import (
    Busy,
    Contradiction,
    Filter,
    Settlements,
    StillNeeded,
    Taken,
)
from tests.integration.databases import ROOT, Database, empty_database
from tests.integration.shop import until
from tests.settling import (
    AMAZON,
    DOUYIN,
    SHOPIFY,
    Money,
    a_csv,
    alipay,
    amazon,
    douyin,
    shopify,
    written,
)

pytestmark = pytest.mark.stack

#: Files end here, so an order of the first of the month is long past every delay.
END = datetime(2026, 11, 28, tzinfo=UTC)


class House:
    """One database for the tests of this file, each with a shop of its own."""

    def __init__(self, database: Database, folder: Path, runner: asyncio.Runner) -> None:
        self.database = database
        self.folder = folder
        self.run = runner.run
        self.settings = Settings(
            kafka="",
            postgres_reader=SecretStr(database.reader),
            postgres_operations=SecretStr(database.operations),
        )

    def upload(
        self, platform: str, shop: str, text: str, encoding: str = "utf-8", **more: Any
    ) -> Taken:
        file = written(self.folder, f"{new_id()}.csv", text, encoding)
        reading = Reading(platform, shop, encoding if encoding != "utf-8" else None, **more)
        return self.run(taking.take(self.settings, file, file.name, reading, "mei", lambda _: None))

    def known(self, wish: Any, *, reads: bool = False) -> Any:
        return self.run(self.asked(wish, reads=reads))

    async def asked(self, wish: Any, *, reads: bool = False) -> Any:
        dsn = self.database.reader if reads else self.database.operations
        async with Settlements.opened(dsn) as known:
            return await wish(known)

    def order(self, platform: str, shop: str, order_id: str, **more: Any) -> str:
        """An order as the ledger has it: of 100.00, paid on the first of November."""
        self.orders(an_order(platform, shop, order_id, **more))
        return order_key(platform, shop, order_id)

    def orders(self, *orders: dict[str, Any]) -> None:
        """Write orders as the ledger does, again where they are there."""
        if orders:
            self.run(self._orders(orders))

    async def _orders(self, orders: tuple[dict[str, Any], ...]) -> None:
        names = list(orders[0])
        places = ", ".join(f"${n}" for n in range(1, len(names) + 1))
        again = ", ".join(f"{name} = excluded.{name}" for name in names)
        async with self.database.connected() as connection:
            await connection.executemany(
                f"INSERT INTO orders ({', '.join(names)}) VALUES ({places})"  # noqa: S608  our names
                f" ON CONFLICT (order_key) DO UPDATE SET {again}",
                [list(order.values()) for order in orders],
            )

    def open(self, shop: str, **more: Any) -> dict[str, str]:
        """The open differences of a shop: order -> verdict."""
        found = self.known(
            lambda known: known.differences(Filter(shop=shop, **more), None, 10_000), reads=True
        )
        return {row["order_key"]: row["verdict"] for row in found}

    def one(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.known(lambda known: known.order(key), reads=True)
        return found


def an_order(platform: str, shop: str, order_id: str, **more: Any) -> dict[str, Any]:
    """Return an order of 100.00 as the ledger has it, paid long before the files end."""
    paid_at = more.get("paid_at", END - timedelta(days=45))
    moments = ("changed_at", "received_at", "first_received_at", "first_written_at", "written_at")
    return {
        "order_key": order_key(platform, shop, order_id), "version": 1, "facets": 3,
        "platform": platform, "shop": shop, "order_id": order_id, "reservation": "reserved",
        "ignored": 0, "currency": "CNY", "total_minor": 10_000, "paid_minor": 10_000,
        "refunded_minor": 0, "refund": "NONE", "status": "COMPLETED", "paid_at": paid_at,
        "created_at": paid_at, "updated_at": paid_at,
    } | dict.fromkeys(moments, paid_at) | more  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with asyncio.Runner() as runner:
        made = empty_database()
        database = runner.run(made.__aenter__())
        try:
            runner.run(
                schema.migrate(
                    database.owner,
                    ledger=schema.role_of(database.ledger),
                    reader=schema.role_of(database.reader),
                    operations=schema.role_of(database.operations),
                )
            )
            yield House(database, tmp_path_factory.mktemp("settlements"), runner)
        finally:
            runner.run(made.__aexit__(None, None, None))


@pytest.fixture
def shop() -> str:
    return f"shop-{new_id()}"


def trades(nth: int) -> str:
    return f"27719441077392{nth:05}"


# --- a file ---------------------------------------------------------------------------------------


def test_what_is_paid_back_before_the_shop_has_the_money_is_missing_on_both_sides(house, shop):
    same = house.order("taobao", shop, trades(1))
    part = house.order("taobao", shop, trades(2), refunded_minor=3_000)
    all_of_it = house.order("taobao", shop, trades(3), refunded_minor=10_000)

    taken = house.upload(
        "taobao", shop,
        alipay(
            Money(trades(1), "100.00", fee="0.60", at="2026-10-20 10:00:00"),
            Money(trades(2), "70.00", at="2026-11-25 10:00:00"),
            Money(trades(9), "1.00"),
        ),
        "gb18030",
    )  # fmt: skip

    assert taken.line_count == 4
    assert house.open(shop) == {order_key("taobao", shop, trades(9)): Verdict.ONLY_IN_FILE}
    assert house.one(same)["fees_minor"] == -60
    assert house.one(part)["verdict"] == Verdict.AGREES
    assert house.one(all_of_it) is None or house.one(all_of_it)["verdict"] == Verdict.AGREES


def test_the_same_file_twice_is_one_file(house, shop):
    house.order("taobao", shop, trades(1))
    text = alipay(Money(trades(1), "100.00"))

    first = house.upload("taobao", shop, text)
    second = house.upload("taobao", shop, text)

    assert (second.id, second.is_known) == (first.id, True)
    assert len(house.known(lambda known: known.files(None, None, shop, 9))) == 1


def test_a_movement_in_two_files_counts_once_and_is_told(house, shop):
    key = house.order("taobao", shop, trades(1))
    twice = Money(trades(1), "100.00", id="A1")
    first = house.upload("taobao", shop, alipay(twice))

    second = house.upload("taobao", shop, alipay(twice, Money(trades(2), "5.00", id="A2")))

    assert (second.line_count, second.repeat_count) == (1, 1)
    told = house.known(lambda known: known.repeats(second.id), reads=True)
    assert [row["first_file"] for row in told] == [first.id]
    assert house.one(key)["paid_minor"] == 10_000


def test_rows_that_are_alike_and_have_no_id_are_told_apart_by_their_sequence(house, shop):
    key = house.order("amazon", shop, "111-2222222-3333333", currency="USD", paid_minor=2_000)
    half = Money("111-2222222-3333333", "10.00")
    text = a_csv(AMAZON, amazon(half, half), "\t")

    house.upload("amazon", shop, text)
    again = house.upload("amazon", shop, text + "\t" * (len(AMAZON) - 1) + "\n")

    assert (again.line_count, again.repeat_count) == (0, 2)
    assert house.one(key)["verdict"] == Verdict.AGREES


def test_a_movement_that_is_another_one_in_a_second_file_lets_nothing_of_it_be_taken(house, shop):
    house.upload("taobao", shop, alipay(Money(trades(1), "100.00", id="A1")))

    with pytest.raises(Contradiction, match="9900 CNY of"):
        house.upload(
            "taobao", shop, alipay(Money(trades(7), "7.00"), Money(trades(1), "99.00", id="A1"))
        )

    assert order_key("taobao", shop, trades(7)) not in house.open(shop)


def test_a_bad_row_lets_nothing_be_taken(house, shop):
    text = alipay(Money(trades(1), "100.00"), Money(trades(2), "1.00")).replace("1.00\r", "x\r")

    with pytest.raises(BadFile, match="nothing was taken"):
        house.upload("taobao", shop, text.replace(",1.00,", ",=1+1,"))

    assert house.known(lambda known: known.files(None, None, shop, 9)) == []


def test_a_withdrawn_file_counts_no_more_and_may_be_taken_anew(house, shop):
    key = house.order("taobao", shop, trades(1))
    first = house.upload("taobao", shop, alipay(Money(trades(1), "90.00", id="A1")))
    second = house.upload(
        "taobao", shop, alipay(Money(trades(1), "90.00", id="A1"), Money(trades(2), "5.00"))
    )
    with pytest.raises(StillNeeded, match=second.id):
        house.known(lambda known: known.withdraw(first.id, "mei", "wrong shop"))

    for file in (second, first):
        house.known(lambda known, file=file: known.withdraw(file.id, "mei", "wrong shop"))

    assert house.open(shop) == {}
    assert house.one(key) is None
    again = house.upload("taobao", shop, alipay(Money(trades(1), "90.00", id="A1")))
    assert (again.is_known, again.line_count) == (False, 1)


def test_two_people_taking_one_file_at_once_take_it_once(house, shop):
    file = written(house.folder, f"{new_id()}.csv", alipay(Money(trades(1), "100.00")))
    reading = Reading("taobao", shop)

    async def both() -> list[Taken]:
        return await asyncio.gather(
            *(
                taking.take(house.settings, file, "b.csv", reading, who, lambda _: None)
                for who in ("mei", "lin", "wu")
            )
        )

    assert sorted(each.is_known for each in house.run(both())) == [False, True, True]


# --- platforms ------------------------------------------------------------------------------------


def test_douyin_parts_of_a_movement_are_kinds_of_their_own(house, shop):
    key = house.order("douyin", shop, "6946267909343417830", refunded_minor=1_000)
    house.upload(
        "douyin", shop, a_csv(DOUYIN, douyin(
            Money("6946267909343417830", "100.00", "10.00", "5.00"),
        )),
    )  # fmt: skip

    found = house.one(key)
    assert found["verdict"] == Verdict.AGREES
    assert {line["kind"]: line["amount_minor"] for line in found["lines"]} == {
        "payment": 10_000, "refund": -1_000, "fee": -500,
    }  # fmt: skip


def test_a_file_with_other_columns_repeats_the_same_amounts(house, shop):
    key = house.order("douyin", shop, "6946267909343417830")
    rows = douyin(Money("6946267909343417830", "100.00", fee="5.00"))
    more = [name for name in DOUYIN if name not in ("运费实付", "实际平台补贴", "订单退款")]
    less = [{name: said for name, said in row.items() if name in more} for row in rows]
    house.upload("douyin", shop, a_csv(more, less))

    again = house.upload("douyin", shop, a_csv(DOUYIN, rows))

    assert (again.line_count, again.repeat_count) == (0, 2)
    assert house.one(key)["verdict"] == Verdict.AGREES


def test_shopify_names_become_orders_once_its_orders_export_tells_them(house, shop):
    key = house.order("shopify", shop, "5123456789012", currency="USD", refunded_minor=500)
    house.upload("shopify", shop, a_csv(SHOPIFY, shopify(Money("#1001", "100.00", "5.00", "3.20"))))
    by_name = order_key("shopify", shop, "#1001")
    assert house.open(shop) == {by_name: Verdict.ONLY_IN_FILE}

    told = house.upload("shopify", shop, "Name,Email,Id\n#1001,a@example.com,5123456789012\n")

    assert told.name_count == 1
    assert house.open(shop) == {}
    assert house.one(by_name) is None
    assert house.one(key)["fees_minor"] == -320


def test_amazon_says_the_currency_and_the_sum_once_for_the_whole_file(house, shop):
    key = house.order("amazon", shop, "111-2222222-3333333", currency="USD")
    money = Money("111-2222222-3333333", "100.00", fee="15.00")

    whole = house.upload("amazon", shop, a_csv(AMAZON, amazon(money), "\t"))
    cut = house.upload("amazon", shop, a_csv(AMAZON, amazon(money, total="999.00"), "\t"))

    assert house.one(key)["verdict"] == Verdict.AGREES
    files = house.known(lambda known: known.files(None, None, shop, 9), reads=True)
    assert {file["id"]: file["adds_up"] for file in files} == {whole.id: True, cut.id: False}


# --- what differs ---------------------------------------------------------------------------------


def test_what_is_resolved_is_open_again_when_a_side_changes(house, shop):
    key = house.order("taobao", shop, trades(1), paid_minor=12_000)
    house.upload("taobao", shop, alipay(Money(trades(1), "100.00")))
    assert house.open(shop) == {key: Verdict.PAID_DIFFERS}

    done = house.known(lambda known: known.resolve({key: None}, "mei", "coupon"))
    again = house.known(lambda known: known.resolve({key: None}, "mei", "coupon"))

    assert (done, again) == ([key], [])
    house.known(lambda known: known.match("taobao", shop))
    assert house.open(shop) == {}
    assert house.open(shop, resolved=True) == {key: Verdict.PAID_DIFFERS}
    house.order("taobao", shop, trades(1), paid_minor=13_000)
    house.known(lambda known: known.match("taobao", shop))
    assert house.open(shop) == {key: Verdict.PAID_DIFFERS}
    assert [each["why"] for each in house.one(key)["resolutions"]] == ["coupon"]


def test_a_resolution_stands_also_where_the_shop_is_matched_at_that_moment(house, shop):
    key = house.order("taobao", shop, trades(1), paid_minor=12_000)
    house.upload("taobao", shop, alipay(Money(trades(1), "100.00")))

    done, _ = house.run(
        held_up(
            house, key,
            lambda known: known.resolve({key: None}, "mei", "coupon"),
            lambda known: known.match("taobao", shop),
        )
    )  # fmt: skip

    assert done == [key]
    assert house.open(shop) == {}


def test_two_people_resolving_the_same_at_once_have_one_effect_and_each_an_answer(house, shop):
    keys = [house.order("taobao", shop, trades(n), paid_minor=12_000) for n in (1, 2)]
    house.upload("taobao", shop, alipay(*(Money(trades(n), "100.00") for n in (1, 2))))

    # In the other sequence, so that each has what the other waits for.
    both = house.run(
        held_up(
            house, keys[0],
            lambda known: known.resolve(dict.fromkeys(keys), "mei", "coupon"),
            lambda known: known.resolve(dict.fromkeys(reversed(keys)), "lin", "booked"),
        )
    )  # fmt: skip

    assert sorted(both) == [[], keys]
    assert {key: len(house.one(key)["resolutions"]) for key in keys} == dict.fromkeys(keys, 1)


async def held_up(house, key: str, *wishes: Any) -> list[Any]:
    """Let each wish begin while the order is held, one behind the other; what each was answered."""
    async with house.database.connected() as holder, house.database.connected() as observer:
        started: list[asyncio.Task[Any]] = []
        async with holder.transaction():
            await holder.execute(
                "SELECT FROM settlement_orders WHERE order_key = $1 FOR UPDATE", key
            )
            for wish in wishes:
                started.append(asyncio.create_task(house.asked(wish)))
                await until(partial(waiting, observer, len(started)), within=20)
        return await asyncio.gather(*started)


async def waiting(connection: Any, count: int) -> bool:
    """Whether so many sessions wait for a lock."""
    found: int = await connection.fetchval(
        "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND datname = current_database()"
    )
    return found >= count


def test_whoever_finds_a_shop_at_work_is_told_and_nothing_is_changed(house, shop):
    key = house.order("taobao", shop, trades(1), paid_minor=12_000)
    house.upload("taobao", shop, alipay(Money(trades(1), "100.00")))

    async def at_work() -> None:
        async with house.database.connected() as other, other.transaction():
            await other.execute(sql("settlement_turn"), "taobao", shop)
            await house.asked(lambda known: known.resolve({key: None}, "mei", "coupon"))

    with pytest.raises(Busy, match=f"taobao shop {shop} are being taken or matched"):
        house.run(at_work())

    assert house.open(shop) == {key: Verdict.PAID_DIFFERS}


def test_a_page_waits_for_an_answer_no_longer_than_it_was_told(house):
    async def slow() -> None:
        async with Settlements.opened(house.database.reader, within_s=0.2) as known:
            await known._connection.execute("SELECT pg_sleep(30)")

    with pytest.raises(LedgerUnavailable, match="statement timeout"):
        house.run(slow())


def test_facts_that_changed_under_a_form_are_not_resolved(house, shop):
    key = house.order("taobao", shop, trades(1), paid_minor=12_000)
    house.upload("taobao", shop, alipay(Money(trades(1), "100.00")))
    seen = house.one(key)["facts"]
    house.upload("taobao", shop, alipay(Money(trades(1), "7.00", id="B")))

    assert house.known(lambda known: known.resolve({key: seen}, "mei", "coupon")) == []
    assert house.open(shop) == {key: Verdict.PAID_DIFFERS}


def test_a_refund_that_was_heard_of_later_settles_the_difference_by_itself(house, shop):
    key = house.order("shopify", shop, "77", currency="USD")
    house.upload("shopify", shop, a_csv(SHOPIFY, shopify(Money("77", "100.00", "40.00"))))
    assert house.open(shop) == {key: Verdict.REFUND_DIFFERS}

    house.order("shopify", shop, "77", currency="USD", refunded_minor=4_000)
    house.known(lambda known: known.match("shopify", shop))

    assert house.open(shop) == {}


def test_an_order_is_missed_only_where_a_file_is_of_the_time_it_was_paid(house, shop):
    def paid(order: str, day: int) -> str:
        at = datetime(2026, 11, day, 12, tzinfo=UTC)
        return house.order("shopify", shop, order, currency="USD", paid_at=at)

    missed, _between, _too_new = paid("M", 2), paid("B", 10), paid("N", 27)
    for days in (("01", "03"), ("20", "28")):
        house.upload(
            "shopify", shop,
            a_csv(SHOPIFY, shopify(
                *(Money(day, "1.00", at=f"2026-11-{day} 00:00:00") for day in days)
            )),
        )  # fmt: skip

    found = house.open(shop, verdict="only_with_us")
    assert found == {missed: Verdict.ONLY_WITH_US}
    house.known(lambda known: known.match("shopify", shop))
    assert house.open(shop, verdict="only_with_us") == found


def test_differences_come_in_pages_that_lack_none(house, shop):
    house.upload(
        "taobao", shop,
        alipay(*(Money(trades(n), "1.00", at=f"2026-11-2{n % 3} 10:00:00") for n in range(25))),
    )  # fmt: skip
    seen: list[str] = []
    after = None
    while page := house.known(
        lambda known, after=after: known.differences(Filter(shop=shop), after, 10), reads=True
    ):
        seen += [row["order_key"] for row in page]
        after = page[-1]["at"], page[-1]["order_key"]

    assert len(seen) == len(set(seen)) == 25


# --- the command line -----------------------------------------------------------------------------


def orderflow(house: House, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run `orderflow settlement`; return its exit code, what it said as JSON, and in words."""
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "settlement", *arguments, "--json"],
        env={
            **{name: said for name, said in os.environ.items() if "ORDERFLOW" not in name},
            "ORDERFLOW_KAFKA": "127.0.0.1:1",
            "ORDERFLOW_POSTGRES_READER": house.database.reader,
            "ORDERFLOW_POSTGRES_OPERATIONS": house.database.operations,
        },
        cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    last = done.stdout.strip().rpartition("\n")[2]
    return done.returncode, json.loads(last) if last else {}, done.stderr


def test_the_command_line_does_what_the_document_says(house, shop):
    key = house.order("taobao", shop, trades(1), paid_minor=12_000)
    file = str(written(house.folder, f"{new_id()}.csv", alipay(Money(trades(1), "100.00")), "gbk"))
    of = (file, "--platform", "taobao", "--shop", shop)

    unsaid = orderflow(house, "upload", *of)
    looked = orderflow(house, "upload", *of, "--encoding", "gb18030", "--dry-run")
    taken = orderflow(house, "upload", *of, "--encoding", "gb18030", "--operator", "mei")
    shown = orderflow(house, "show", taken[1]["id"])
    differing = orderflow(house, "differences", "--shop", shop)
    one = orderflow(house, "order", key)
    resolved = orderflow(house, "resolve", key, "--reason", "coupon", "--operator", "mei")
    again = orderflow(house, "resolve", key, "--reason", "coupon")
    unknown = orderflow(house, "match", "--platform", "pdd", "--shop", shop)
    matched = orderflow(house, "match", "--platform", "taobao", "--shop", shop)
    withdrawn = orderflow(house, "withdraw", taken[1]["id"], "--reason", "of another shop")

    assert (unsaid[0], "--encoding gb18030" in unsaid[2]) == (2, True)
    assert (looked[0], looked[1]["orders_known"], looked[1]["lines"]) == (0, 1, 1)
    assert (taken[0], taken[1]["line_count"]) == (0, 1)
    assert shown[1]["operator"] == "mei"
    assert differing[1]["open"] == {"paid_differs": 1}
    assert one[1]["facts"] == "ours 12000-0 CNY; theirs 10000-0 CNY"
    assert (resolved[0], resolved[1]["resolved"]) == (0, [key])
    assert (again[0], again[1]["not_open"]) == (1, [key])
    assert "mei resolved it at" in again[2]
    assert (unknown[0], "no template for the settlements of 'pdd'" in unknown[2]) == (2, True)
    assert matched[1]["shops"] == {f"taobao:{shop}": {"paid_differs": 1}}
    assert withdrawn[0] == 0
    assert house.one(key) is None


# --- against an oracle that plants what has to be found -------------------------------------------


class Planted(NamedTuple):
    """An order of ours, what the file says of it, and what has to be found."""

    ours: dict[str, Any] | None
    money: Money | None
    found: Verdict | None


def _planted(nth: int, plan: str, paid: int, refunded: int, fee: int) -> Planted:
    """Derive a file's row from an order, then spoil one side as *plan* says."""
    order_id = f"ORDER-{nth}"

    def money(paid_: int, refunded_: int) -> Money:
        return Money(
            order_id, f"{paid_ / 100:.2f}", f"{refunded_ / 100:.2f}", f"{fee / 100:.2f}",
            id=f"C{nth}", at=f"2026-11-15 00:00:{nth % 60:02}",
        )  # fmt: skip

    ours = {
        "order_id": order_id, "currency": "USD", "paid_minor": paid, "refunded_minor": refunded,
        "paid_at": datetime(2026, 11, 12, tzinfo=UTC),
    }  # fmt: skip
    file = money(paid, refunded)
    refund_unheard = ours | {"refunded_minor": refunded + 1}
    return {
        "same": Planted(ours, file, None),
        "more": Planted(ours, money(paid + 1, refunded), Verdict.PAID_DIFFERS),
        "less": Planted(ours, money(paid - 1, refunded), Verdict.PAID_DIFFERS),
        "refund": Planted(ours, money(paid, refunded + 1), Verdict.REFUND_DIFFERS),
        "refund not in it": Planted(refund_unheard, file, Verdict.REFUND_DIFFERS),
        "refund to come": Planted(refund_unheard | {"updated_at": END}, file, None),
        "no order": Planted(None, file, Verdict.ONLY_IN_FILE),
        "no line": Planted(ours | {"refunded_minor": 0}, None, Verdict.ONLY_WITH_US),
        "no line yet": Planted(ours | {"paid_at": END - timedelta(days=2)}, None, None),
        "paid back whole": Planted(ours | {"refunded_minor": paid}, None, None),
        "currency": Planted(ours | {"currency": "EUR"}, file, Verdict.CURRENCY_DIFFERS),
    }[plan]


PLANS = (
    "same", "same", "more", "less", "refund", "refund not in it", "refund to come", "no order",
    "no line", "no line yet", "paid back whole", "currency",
)  # fmt: skip
planted = st.lists(
    st.tuples(
        st.sampled_from(PLANS), st.integers(200, 9_999_999), st.integers(0, 100), st.integers(0, 99)
    ),
    min_size=1,
    max_size=25,
)


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(planted, st.integers(1, 24), st.randoms(use_true_random=False))
def test_exactly_what_was_planted_is_found(house, plans, cut, random):
    shop = f"shop-{new_id()}"
    days = [_planted(nth, *plan) for nth, plan in enumerate(plans)]
    house.orders(*(an_order("shopify", shop, **day.ours) for day in days if day.ours is not None))
    rows = shopify(*(day.money for day in days if day.money is not None))
    # A movement of no order at each end: the files reach from the first of the month to its end.
    ends = [
        {"Transaction Date": f"2026-11-{day} 00:00:00 +0000", "Type": "payout", "Order": "",
         "Amount": "-1.00", "Fee": "0.00", "Net": "-1.00", "Currency": "USD"}
        for day in ("10", "28")
    ]  # fmt: skip
    rows = [*rows, *ends]
    random.shuffle(rows)
    # Two files that overlap by some rows.
    for part in (rows[: cut + 2], rows[min(cut, len(rows) - 1) :]):
        house.upload("shopify", shop, a_csv(SHOPIFY, part))

    assert house.open(shop) == {
        order_key("shopify", shop, f"ORDER-{nth}"): day.found.value
        for nth, day in enumerate(days)
        if day.found is not None
    }
    fees = house.run(
        house.database.value(
            "SELECT sum(fees_minor)::bigint FROM settlement_orders WHERE shop = $1", shop
        )
    )
    told = sum(plan[3] for day, plan in zip(days, plans, strict=True) if day.money is not None)
    assert (fees or 0) == -told
