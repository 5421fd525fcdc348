"""Figures on the real PostgreSQL: what is kept is what the orders come to, whatever happens."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from schemas.base import Moment
from schemas.orders import Disposition, Receiver, Refund, ReturnGoods, Status
from streams.figures import asking
from streams.figures.asking import Asked, Line
from streams.figures.clocks import Clock
from streams.figures.restating import CHUNKS_AT_ONCE, check, restate
from streams.postgres.connecting import connected
from tests.builders import T0, a_line, a_statement, an_id, observe, receive
from tests.integration.databases import Database, database, empty  # noqa: F401
from tests.integration.test_ledger_postgres import a_sink, close, cut, frames, write
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


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_what_is_kept_is_what_the_orders_come_to_however_they_came(
    database: Database, seed: int
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
    kept = await database.rows("SELECT * FROM figures_days ORDER BY 1, 2, 3, 4, 5, 6")
    flow = await database.rows("SELECT * FROM figures_flow ORDER BY 1, 2, 3, 4")
    assert await bring_up(database) == 0
    # All of it anew is the same; it takes more than one transaction.
    assert await bring_up(database, everything=True) > CHUNKS_AT_ONCE
    assert await database.rows("SELECT * FROM figures_days ORDER BY 1, 2, 3, 4, 5, 6") == kept
    assert await database.rows("SELECT * FROM figures_flow ORDER BY 1, 2, 3, 4") == flow
