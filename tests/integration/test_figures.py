"""Figures on the real PostgreSQL: what is kept is what the orders come to, whatever happens."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from msgspec import structs

from schemas.base import Moment
from schemas.errors import Rejected
from schemas.orders import Disposition, Receiver, Refund, ReturnGoods, Status
from streams.figures import asking, reports
from streams.figures.asking import Asked, Line
from streams.figures.clocks import Clock
from streams.figures.restating import CHUNKS_AT_ONCE, check, restate
from streams.postgres import schema
from streams.postgres.connecting import connected
from streams.reads import Reads
from tests.builders import T0, a_line, a_statement, an_id, observe, receive
from tests.integration.databases import Database, empty_database
from tests.integration.test_ledger_postgres import a_sink, close, cut, frames, write, write_all
from tests.simulation import House

pytestmark = pytest.mark.stack

HOUR = 3_600_000
DAY = 24 * HOUR
COMPANY = "Asia/Shanghai"
SHOPS = {
    ("taobao", "lamps"): Clock("Asia/Shanghai"),
    ("shopify", "rugs"): Clock("America/Los_Angeles", 6 * 60),
    ("mall", "far"): Clock("Pacific/Kiritimati"),
    ("amazon", "odd"): Clock("Asia/Kathmandu", 150),
}
WHEN: Any = Asked(date(2026, 11, 1), date(2026, 11, 30))
SUMS = ("orders", "priced", "gmv", "returned", "refunded", "back", "back_refunded")


@contextmanager
def _kept(template: str, fill: Any) -> Iterator[Database]:
    """A database made from *template* and filled once, for the tests of this file."""
    with asyncio.Runner() as runner:
        made = empty_database(template)
        there = runner.run(made.__aenter__())
        try:
            runner.run(fill(there))
            yield there
        finally:
            runner.run(made.__aexit__(None, None, None))


async def _build(there: Database) -> None:
    await schema.migrate(
        there.owner,
        ledger=schema.role_of(there.ledger),
        reader=schema.role_of(there.reader),
        operations=schema.role_of(there.operations),
    )


@pytest.fixture(scope="module")
def built() -> Iterator[Database]:
    """What an installation begins with."""
    with _kept("template1", _build) as there:
        yield there


@pytest.fixture(scope="module")
def trade() -> House:
    return a_trade(Random(4), 40)


@pytest.fixture(scope="module")
def filled(built: Database, trade: House) -> Iterator[Database]:
    """Orders that nobody has counted."""
    with _kept(built.name, lambda there: write_all(there, frames(trade))) as there:
        yield there


@pytest.fixture
async def database(built: Database) -> AsyncIterator[Database]:
    async with empty_database(built.name) as there:
        yield there


@pytest.fixture
async def traded(filled: Database) -> AsyncIterator[Database]:
    async with empty_database(filled.name) as there:
        yield there


def clock(platform: str, shop: str) -> Clock:
    return SHOPS.get((platform, shop), Clock(COMPANY))


async def bring_up(database: Database, *, everything: bool = False) -> int:
    done = await restate(
        database.operations, clock, COMPANY, lambda *_: None, everything=everything
    )
    return done.chunks


async def differences(database: Database) -> list[Any]:
    return (await check(database.reader, None, lambda *_: None)).differences


async def ask(database: Database, asked: Asked = WHEN) -> asking.Figures:
    async with connected(database.reader, name="test") as connection:
        return await asking.figures(connection, asked)


# --- what the orders come to, counted by other means ----------------------------------------------


def business_day(at: datetime, its: Clock) -> date:
    there = at.astimezone(ZoneInfo(its.zone)).replace(tzinfo=None)
    return (there - timedelta(minutes=its.day_begins)).date()


async def oracle(database: Database) -> dict[tuple[Any, ...], Counter[str]]:
    """(day, platform, shop, province, currency) -> figures, from the ledger's own tables."""
    found: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    back_at: dict[str, datetime] = dict(
        await database.rows(  # type: ignore[arg-type]
            "SELECT order_key, at FROM returns WHERE disposition <> 'lost' ORDER BY at DESC"
        )
    )
    rows = await database.rows(
        "SELECT order_key, platform, shop, currency, created_at, first_received_at, total_minor,"
        " status, platform_status, paid_at, paid_minor, refund, refunded_minor, refunded_at,"
        " province FROM orders LEFT JOIN order_details USING (order_key)"
    )
    for (key, platform, shop, currency, created, received, total, told, said, paid_at, paid, refund,
         refunded, refunded_at, province) in rows:  # fmt: skip
        went = refund in ("PARTIALLY_REFUNDED", "REFUNDED")
        assert went == (refunded_at is not None), key
        if (told or said) == "CANCELLED" and not paid_at and not paid and not went:
            continue
        its = clock(platform, shop)
        where = (platform, shop, province or "", currency or "")
        returned = min(filter(None, (refunded_at, back_at.get(key))), default=None)
        money = (refunded or 0) if went else 0
        placed = found[business_day(created or received, its), *where]
        placed["orders"] += 1
        placed["priced"] += total is not None
        placed["gmv"] += total or 0
        if returned is not None:
            placed["returned"] += 1
            placed["refunded"] += money
            then = found[business_day(returned, its), *where]
            then["back"] += 1
            then["back_refunded"] += money
    return found


def summed(lines: list[Line], of: Any) -> dict[Any, dict[str, int]]:
    found: dict[Any, Counter[str]] = defaultdict(Counter)
    for line in lines:
        found[of(line)].update({name: getattr(line, name) for name in SUMS})
    return {key: {name: value[name] for name in SUMS} for key, value in found.items()}


def regrouped(counted: dict[tuple[Any, ...], Counter[str]], *places: int) -> dict[Any, Any]:
    found: dict[Any, Counter[str]] = defaultdict(Counter)
    for key, value in counted.items():
        found[tuple(key[place] for place in places)].update(value)
    return {key: {name: value[name] for name in SUMS} for key, value in found.items()}


async def agree(database: Database) -> None:
    counted = await oracle(database)
    found = await ask(database)
    assert summed(found.times, lambda x: (x.day, x.currency)) == regrouped(counted, 0, 4)
    assert summed(found.shops, lambda x: (x.platform, x.shop, x.currency)) == regrouped(
        counted, 1, 2, 4
    )
    assert summed(found.regions, lambda x: (x.province, x.currency)) == regrouped(counted, 3, 4)
    assert summed(found.totals, lambda x: (x.currency,)) == regrouped(counted, 4)
    by_hour = await ask(database, WHEN._replace(unit="hour"))
    assert summed(by_hour.times, lambda x: (x.day, x.currency)) == regrouped(counted, 0, 4)
    assert await differences(database) == []


# --- orders that live their lives -----------------------------------------------------------------

PROVINCES = ("浙江省", "广东省", "CA", None)
HELD, PAID, SENT, DONE, OFF = (
    Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED, Status.COMPLETED, Status.CANCELLED,
)  # fmt: skip
KEPT, PART, WENT = Refund.NONE, Refund.PARTIALLY_REFUNDED, Refund.REFUNDED
LIVES: tuple[tuple[tuple[Status, Refund | None], ...], ...] = (
    ((HELD, None),),
    ((HELD, KEPT), (OFF, KEPT)),
    ((PAID, KEPT), (SENT, KEPT), (DONE, KEPT)),
    ((PAID, KEPT), (PAID, Refund.REFUNDING), (OFF, WENT)),
    ((PAID, KEPT), (SENT, PART), (SENT, WENT)),
    # It is taken back: the money never went.
    ((PAID, PART), (PAID, Refund.REJECTED)),
    ((PAID, PART), (PAID, Refund.REJECTED), (DONE, WENT)),
    # First heard of when all was over.
    ((DONE, WENT),),
)


def a_life(random: Random, number: int) -> list[Any]:
    platform, shop = random.choice(list(SHOPS))
    created = random.randrange(-6 * DAY, 3 * DAY)
    province, total = random.choice(PROVINCES), random.choice((None, 0, 1_999, 25_850))
    said, at = [], created
    for status, refund in random.choice(LIVES):
        went = refund in (PART, WENT)
        paid = status not in (HELD, OFF) or went
        more: dict[str, Any] = {
            "platform": platform, "shop": shop, "total": total,
            "currency": random.choice(("CNY", "USD")) if number % 9 == 0 else "CNY",
            "paid_at": Moment(T0 + created) if paid else None,
            "refunded": 100 * random.randint(1, 9) if went else None,
            "receiver": Receiver(province=province, city="x", name="张三", address="某街 1 号"),
        }  # fmt: skip
        if number % 7 == 0:
            more["created_at"] = None
        line = a_line("LAMP", random.randint(1, 3))
        statement = a_statement(
            status, line, order=str(number), at=at, created=created, refund=refund, **more
        )
        said.append(heard(statement, number * 10 + len(said), at + random.randrange(DAY // 2)))
        at += random.randrange(1, 2 * DAY)
    return said


def heard(said: Any, offset: int, received: int) -> Any:
    """The command intake makes of a statement that came *received* ms after T0."""
    command = observe(said, offset)
    source = structs.replace(command.source, received_ms=T0 + received)
    return structs.replace(command, source=source)


def a_trade(random: Random, many: int) -> House:
    house = House(partitions=3)
    house.tell(receive("LAMP", 1_000))
    house.settle()
    lives = [a_life(random, 1_000 + number) for number in range(many)]
    while lives := [life for life in lives if life]:
        life = random.choice(lives)
        house.now_ms += random.randrange(0, 3 * HOUR)
        house.tell(life.pop(0))
        if random.random() < 0.3:
            house.settle(random, 0.05)
        if random.random() < 0.05:
            house.tell(came_back(random, house))
    house.settle(random, 0.05)
    return house


def came_back(random: Random, house: House) -> ReturnGoods:
    keys = [row.key for keeper in house.keepers.values() if keeper.table.name == "orders"
            for key in keeper.rows if (row := house.row("orders", key)) is not None]  # fmt: skip
    return ReturnGoods(
        id=an_id(house.now_ms), order=random.choice(keys) if keys else "mall:far:0", sku="LAMP",
        quantity=1, disposition=random.choice(list(Disposition)), reason="x", operator="mei",
    )  # fmt: skip


#: What the ledger takes note of for figures.
TIMES = "SELECT order_key, refunded_at, stated_at, observed_at, verdict_at FROM orders ORDER BY 1"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_what_is_kept_is_what_the_orders_come_to_however_they_came(
    built: Database, database: Database, seed: int
) -> None:
    random = Random(seed)
    house = a_trade(random, 60)
    sink = await a_sink(database, frames(house))

    for round_ in cut(frames(house), random):
        await write(sink, round_)
        if random.random() < 0.15:
            await bring_up(database)
            assert await differences(database) == []
    await bring_up(database)

    await close(sink)
    assert len(await database.rows("SELECT FROM orders")) == 60
    assert await database.value("SELECT count(*) FROM orders WHERE refunded_at IS NOT NULL") > 5
    await agree(database)
    async with empty_database(built.name) as at_once:
        await write_all(at_once, frames(house))
        assert await at_once.rows(TIMES) == await database.rows(TIMES)
    kept = await database.rows("SELECT * FROM figures_days ORDER BY 1, 2, 3, 4, 5, 6")
    flow = await database.rows("SELECT * FROM figures_flow ORDER BY 1, 2, 3, 4")
    assert await bring_up(database) == 0
    # All of it anew is the same; it takes more than one transaction.
    assert await bring_up(database, everything=True) > CHUNKS_AT_ONCE
    assert await database.rows("SELECT * FROM figures_days ORDER BY 1, 2, 3, 4, 5, 6") == kept
    assert await database.rows("SELECT * FROM figures_flow ORDER BY 1, 2, 3, 4") == flow


async def test_orders_from_before_get_their_times_from_their_events(traded: Database) -> None:
    there = ScriptDirectory(str(schema.MIGRATIONS)).get_revision("0012").module
    before, undone = await traded.rows(TIMES), []
    assert sum(row[1] is not None for row in before) > 5

    async with traded.connected() as connection:
        with patch.object(there.op, "execute", undone.append):
            there.downgrade()
        for statement in (*undone, *there.STATEMENTS):
            await connection.execute(statement)

    assert await traded.rows(TIMES) == before
    assert await traded.value("SELECT count(*) FROM figures_stale") > 5


# --- what happens on the way ----------------------------------------------------------------------


def refund_of(order: str, shop: tuple[str, str]) -> Any:
    """What a platform says late: the money of a whole order went back."""
    platform, name = shop
    at = 2 * DAY
    return heard(
        a_statement(
            Status.COMPLETED, a_line("LAMP"), order=order, at=at, created=0, refund=Refund.REFUNDED,
            refunded=777, total=999, platform=platform, shop=name, paid_at=Moment(T0),
        ),
        90_000,
        at,
    )  # fmt: skip


async def test_a_late_word_restates_the_day_it_is_about(database: Database) -> None:
    house = House()
    first = a_statement(
        Status.PAID, a_line("LAMP"), order="1", total=999, platform="mall", shop="far",
        paid_at=Moment(T0),
    )  # fmt: skip
    house.tell(receive("LAMP", 9), heard(first, 1, 0))
    house.settle()
    sink = await a_sink(database, frames(house))
    await write(sink, frames(house))
    await bring_up(database)
    (before,) = (await ask(database)).times

    house.now_ms += 2 * DAY
    house.tell(refund_of("1", ("mall", "far")))
    house.settle()
    await write(sink, frames(house))
    await bring_up(database)

    await close(sink)
    placed, back = (await ask(database)).times
    # T0 is 14:00 of the same day there.
    assert (before.day, before.orders, before.returned) == (date(2026, 11, 11), 1, 0)
    assert (placed.day, placed.orders, placed.returned, placed.refunded) == (
        date(2026, 11, 11), 1, 1, 777,
    )  # fmt: skip
    assert (back.day, back.orders, back.back, back.back_refunded) == (
        date(2026, 11, 13), 0, 1, 777,
    )  # fmt: skip
    assert (placed.return_rate, back.back_rate) == (Decimal(1), None)
    await agree(database)


async def test_several_who_count_at_once_count_each_order_once(traded: Database) -> None:

    await asyncio.gather(*(bring_up(traded, everything=True) for _ in range(3)))

    await agree(traded)


async def test_one_that_is_cut_off_anywhere_leaves_the_rest_to_the_next(
    traded: Database,
) -> None:
    patience, cut_off = 0.02, 0
    while True:
        try:
            async with asyncio.timeout(patience):
                await bring_up(traded)
            break
        except TimeoutError:
            cut_off += 1
            assert await differences(traded) == []
            patience *= 2

    assert cut_off
    await agree(traded)


async def test_a_session_that_dies_in_the_middle_has_done_nothing(traded: Database) -> None:
    await bring_up(traded)
    kept = await traded.rows("SELECT * FROM figures_days ORDER BY 1, 2, 3, 4, 5, 6")
    async with traded.connected("operations") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("DELETE FROM figures_parts")
        await connection.execute("DELETE FROM figures_days")
        connection.terminate()

    assert await bring_up(traded) == 0
    assert await traded.rows("SELECT * FROM figures_days ORDER BY 1, 2, 3, 4, 5, 6") == kept


async def test_a_shop_whose_day_begins_at_another_time_is_counted_anew(
    traded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bring_up(traded)
    before = await ask(traded)
    monkeypatch.setitem(SHOPS, ("mall", "far"), Clock("America/Los_Angeles", 12 * 60))

    assert await bring_up(traded) > 0

    assert (await ask(traded)).times != before.times
    await agree(traded)
    assert await bring_up(traded) == 0


async def test_a_zone_that_postgresql_does_not_know_is_the_companys(
    traded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHOPS, ("mall", "far"), Clock("Moon/Base"))

    await bring_up(traded)

    assert await traded.value("SELECT zone FROM shop_clocks WHERE shop = 'far'") == COMPANY
    assert await bring_up(traded) == 0


async def test_who_is_erased_is_of_no_region_any_more(traded: Database) -> None:
    await bring_up(traded)
    before = await ask(traded)

    async with traded.connected() as connection:
        await connection.execute("DELETE FROM order_details")
    await bring_up(traded)

    after = await ask(traded)
    assert len(before.regions) > len(after.regions)
    assert {line.province for line in after.regions} == {""}
    assert after.times == before.times
    await agree(traded)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE figures_parts SET orders = orders + 1 WHERE shop = 'rugs'",
        "DELETE FROM figures_parts WHERE shop = 'rugs'",
        "UPDATE figures_days SET gmv = gmv - 1 WHERE shop = 'rugs'",
        "DELETE FROM figures_days WHERE shop = 'rugs'",
        "UPDATE figures_flow SET whole = whole + 1 WHERE shop = 'rugs'",
        # An order that somebody wrote past the ledger.
        "UPDATE orders SET total_minor = 1 WHERE total_minor = 25850",
    ],
)  # fmt: skip
async def test_a_figure_that_is_not_what_the_orders_come_to_is_found(
    traded: Database, damage: str
) -> None:
    await bring_up(traded)
    assert await differences(traded) == []

    async with traded.connected() as connection:
        await connection.execute(damage)

    assert await differences(traded) != []
    await bring_up(traded, everything=True)
    assert await differences(traded) == []


async def test_nobody_who_counts_sees_a_person(database: Database) -> None:
    async with database.connected("operations") as connection:
        for refused in (
            "SELECT body FROM order_details", "SELECT * FROM order_details",
            "UPDATE daily_reports SET version = 2", "DELETE FROM daily_reports",
        ):  # fmt: skip
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(refused)
    async with database.connected("ledger") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT * FROM figures_touched")


# --- whose day it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "zone", "begins", "day", "hour"),
    [
        # T60: the last night of the year, as it is there and not in UTC
        ("2026-12-31T15:50Z", "Asia/Shanghai", 0, "2026-12-31", "2026-12-31T15:00Z"),
        ("2026-12-31T16:00Z", "Asia/Shanghai", 0, "2027-01-01", "2026-12-31T16:00Z"),
        ("2027-01-01T07:50Z", "America/Los_Angeles", 0, "2026-12-31", "2027-01-01T07:00Z"),
        # +14:00, +5:45
        ("2026-11-10T10:00Z", "Pacific/Kiritimati", 0, "2026-11-11", "2026-11-10T10:00Z"),
        ("2026-11-10T18:14Z", "Asia/Kathmandu", 0, "2026-11-10", "2026-11-10T17:15Z"),
        ("2026-11-10T18:15Z", "Asia/Kathmandu", 0, "2026-11-11", "2026-11-10T18:15Z"),
        # clocks go back: 01:30 is twice, and each is an hour of its own
        ("2026-11-01T08:30Z", "America/Los_Angeles", 0, "2026-11-01", "2026-11-01T08:00Z"),
        ("2026-11-01T09:30Z", "America/Los_Angeles", 0, "2026-11-01", "2026-11-01T09:00Z"),
        # clocks go forward: the day has 23 hours
        ("2026-03-08T07:59Z", "America/Los_Angeles", 0, "2026-03-07", "2026-03-08T07:00Z"),
        ("2026-03-09T06:59Z", "America/Los_Angeles", 0, "2026-03-08", "2026-03-09T06:00Z"),
        # the platform's day begins at 06:00
        ("2026-11-10T21:59Z", "Asia/Shanghai", 360, "2026-11-10", "2026-11-10T21:00Z"),
        ("2026-11-10T22:00Z", "Asia/Shanghai", 360, "2026-11-11", "2026-11-10T22:00Z"),
    ],
)  # fmt: skip
async def test_t60_an_order_is_of_the_day_it_is_there(
    built: Database, at: str, zone: str, begins: int, day: str, hour: str
) -> None:
    row = await built.rows(
        "SELECT figured_day($1, $2, $3), figured_hour($1, $2)",
        datetime.fromisoformat(at), zone, begins,
    )  # fmt: skip

    assert row == [(date.fromisoformat(day), datetime.fromisoformat(hour))]


async def test_t60_two_calendars_agree_about_every_day(built: Database) -> None:
    random = Random(60)
    zones = ("Asia/Shanghai", "America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe",
             "Pacific/Kiritimati", "Asia/Kathmandu", "America/St_Johns")  # fmt: skip
    asked = [
        (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=random.randrange(2 * 366 * 86_400)),
         random.choice(zones), random.choice((0, 0, 150, 360)))
        for _ in range(4_000)
    ]  # fmt: skip
    columns = [[row[place] for row in asked] for place in range(3)]
    rows = await built.rows(
        "SELECT figured_day(at, zone, begins) FROM"
        " unnest($1::timestamptz[], $2::text[], $3::smallint[]) AS asked (at, zone, begins)",
        *columns,
    )

    expected = [business_day(at, Clock(zone, begins)) for at, zone, begins in asked]
    assert [day for (day,) in rows] == expected


async def test_t60_a_list_looks_at_all_of_a_day_and_at_no_more_where_no_clock_is_changed(
    database: Database,
) -> None:
    begins_at = datetime(2026, 1, 1, tzinfo=UTC)
    for zone, begins in (
        ("Asia/Shanghai", 360), ("America/Los_Angeles", 0), ("Europe/Berlin", 150),
        ("Australia/Lord_Howe", 0), ("Pacific/Apia", 0), ("America/St_Johns", 60),
    ):  # fmt: skip
        moments = [begins_at + timedelta(minutes=15 * n) for n in range(366 * 96)]
        async with database.connected() as connection, connection.transaction():
            await connection.execute("TRUNCATE shop_clocks")
            await connection.execute(
                "INSERT INTO shop_clocks VALUES ('mall', 'main', $1, $2)", zone, begins
            )
            [(missed, days, exact)] = await connection.fetch(
                "WITH of_day AS ("
                " SELECT figured_day(at, $2, $3) AS day, min(at) AS first, max(at) AS last"
                " FROM unnest($1::timestamptz[]) AS at GROUP BY 1), seen AS ("
                " SELECT *, figured_from(day) AS since, figured_until(day) AS until FROM of_day)"
                " SELECT count(*) FILTER (WHERE first < since OR last >= until), count(*),"
                " count(*) FILTER (WHERE since = first AND until = last + interval '15 minutes')"
                " FROM seen",
                moments, zone, begins,
            )  # fmt: skip
        assert missed == 0, zone
        # The first and the last are cut off; of the others two changes of the clock touch two each.
        assert exact >= days - 6, zone


async def test_the_list_behind_a_figure_has_its_orders_once_however_far_a_page_looks(
    traded: Database,
) -> None:
    await bring_up(traded)
    days = await traded.rows(
        "SELECT DISTINCT day FROM figured_orders UNION SELECT back_day FROM figured_orders"
        " WHERE back_day IS NOT NULL ORDER BY 1"
    )
    came_back = 0
    async with Reads(traded.reader) as reads:
        for (day,) in days:
            for column, when in (("day", "placed"), ("back_day", "back")):
                expected = await traded.rows(
                    f"SELECT order_key FROM figured_orders WHERE {column} = $1 AND counted"  # noqa: S608
                    f" ORDER BY {when}_at DESC, order_key DESC",
                    day,
                )
                came_back += len(expected) * (when == "back")
                for looks, limit in ((1, 1), (2, 50), (50, 2), (500, 50)):
                    assert await paged(reads, when, day, looks, limit) == [
                        key for (key,) in expected
                    ], (day, when, looks, limit)
    assert came_back > 5


async def test_an_order_that_came_back_again_and_again_is_listed_once(database: Database) -> None:
    at = datetime(2026, 11, 11, 2, tzinfo=UTC)
    key = "mall:main:1"
    async with database.connected() as connection:
        await connection.execute(
            "INSERT INTO shop_clocks VALUES ('mall', 'main', 'Asia/Shanghai', 0)"
        )
        await connection.execute(
            "INSERT INTO orders (order_key, version, facets, changed_at, platform, shop, order_id,"
            " reservation, ignored, first_received_at, first_written_at, written_at, received_at,"
            " refunded_at) VALUES ($1, 1, 63, $2, 'mall', 'main', '1', 'shipped', 0, $2, $2, $2,"
            " $2, $3)",
            key, at - timedelta(days=3), at + timedelta(hours=2),
        )  # fmt: skip
        # Two SKUs in one parcel, one more later; and one that was lost before all of them.
        for version, hours, disposition in (
            (1, -1, "lost"), (2, 0, "available"), (3, 0, "frozen"), (4, 1, "available"),
        ):  # fmt: skip
            await connection.execute(
                "INSERT INTO returns (order_key, version, at, sku, quantity, disposition,"
                " command_id, operator, reason)"
                " VALUES ($1, $2, $3, 'LAMP', 1, $4, 'x', 'mei', 'y')",
                key, version, at + timedelta(hours=hours), disposition,
            )  # fmt: skip

    async with Reads(database.reader) as reads:
        for looks, limit in ((1, 1), (2, 50), (500, 50)):
            assert await paged(reads, "back", date(2026, 11, 11), looks, limit) == [key]


async def paged(reads: Reads, when: str, day: date, looks: int, limit: int) -> list[str]:
    """All pages of the list of one day, as the console asks for them."""
    days = (day, day) if when == "placed" else (None, None)
    back = (None, None) if when == "placed" else (day, day)
    rest = (False, True, None, None, None, None, None, None)
    ask, ask_end = (
        (reads.orders_figured, reads.orders_figured_end)
        if when == "placed"
        else (reads.orders_figured_back, reads.orders_figured_back_end)
    )
    found: list[str] = []
    after: tuple[Any, str] = (None, "")
    while True:
        rows = await ask(*after, looks, limit + 1, *days, None, *back, *rest)
        found += [row["order_key"] for row in rows[:limit]]
        if len(rows) > limit:
            after = rows[limit - 1][f"{when}_at"], rows[limit - 1]["order_key"]
            continue
        end = await ask_end(*after, looks, day, day)
        if end is None:
            return found
        after = end["at"], end["order_key"]


# --- asking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked(date(2026, 1, 1), date(2026, 2, 1), "hour"), "too_many_days"),
        (Asked(date(2026, 1, 1), date(2027, 3, 1), "day"), "too_many_days"),
        (Asked(date(2026, 1, 2), date(2026, 1, 1)), "bad_days"),
        (Asked(date(2026, 1, 2), date(2026, 1, 2), "year"), "unknown_word"),
    ],
)
def test_what_would_take_for_ever_is_refused(asked: Asked, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        asked.check()


def test_a_mean_and_a_rate_of_nothing_are_no_numbers() -> None:
    nothing = Line("CNY", 0, 0, 0, 0, 0, 2, 50)
    some = Line("CNY", 3, 2, 2_501, 1, 0, 0, 0)

    assert (nothing.average, nothing.return_rate, nothing.back_rate) == (None, None, None)
    assert (some.average, some.return_rate) == (1_251, Decimal("0.3333"))


# --- the daily report -----------------------------------------------------------------------------


async def report(database: Database, at: datetime, only: date | None = None) -> list[Any]:
    found = await reports.write_due(
        database.operations, clock, COMPANY, at, lambda *_: None, only=only
    )
    return [(each.day, each.version, each.outcome) for each in found]


async def test_a_report_is_made_once_made_up_for_and_restated(
    traded: Database, trade: House
) -> None:
    house = trade
    night = datetime(2026, 11, 11, 18, 0, tzinfo=UTC)  # 02:00 of the 12th in Shanghai
    eleventh = date(2026, 11, 11)

    first = await report(traded, night)
    again = await report(traded, night)
    outage = await report(traded, night + timedelta(days=3))
    house.tell(refund_of("9999", ("taobao", "lamps")))
    house.settle()
    sink = await a_sink(traded, frames(house))
    await write(sink, frames(house))
    await close(sink)
    later = await report(traded, night + timedelta(days=3))

    assert first == [(eleventh, 1, "new")]
    assert again == []
    assert outage == [(date(2026, 11, day), 1, "new") for day in (12, 13, 14)]
    # Placed on the 11th, and gone back on the 13th.
    assert later == [(eleventh, 2, "restated"), (date(2026, 11, 13), 2, "restated")]
    async with connected(traded.reader, name="test") as connection:
        said = await reports.versions(connection, eleventh)
    assert [each.version for each in said] == [1, 2]
    orders = [sum(entry.orders for entry in each.report.shops) for each in said]
    assert orders[1] == orders[0] + 1
    shown = await ask(traded, Asked(eleventh, eleventh))
    assert [entry.line() for entry in said[-1].report.shops] == sorted(
        (line._replace(day=None) for line in shown.shops),
        key=lambda line: (line.platform, line.shop, line.currency),
    )
    assert [
        (each.currency, each.orders, each.gmv, each.back)
        for each in reports.totals(said[-1].report.shops)
    ] == sorted((each.currency, each.orders, each.gmv, each.back) for each in shown.totals)


async def test_of_several_reports_at_once_one_is_written(traded: Database) -> None:
    night = datetime(2026, 11, 11, 18, 0, tzinfo=UTC)

    found = await asyncio.gather(*(report(traded, night) for _ in range(3)))

    assert sorted(found) == [[], [], [(date(2026, 11, 11), 1, "new")]]


async def test_a_day_that_is_not_over_is_not_reported(database: Database) -> None:
    # 23:59 of the 11th in Shanghai
    with pytest.raises(reports.NotOver, match="2026-11-10"):
        await report(database, datetime(2026, 11, 11, 15, 59, tzinfo=UTC), date(2026, 11, 11))
