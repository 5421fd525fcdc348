"""What the console searches by, on a filled PostgreSQL: indexes are used, old rows are found."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
import importlib.util
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import msgpack
from sqlalchemy.ext.asyncio import create_async_engine

from schemas.orders import Buyer, OrderDetails, Shipment
from streams.console.orders import PAGE, SCAN_MAX
from streams.postgres import schema
from streams.postgres.queries import sql
from streams.reads import Reads
from tests.integration.databases import Database, database, empty, empty_database  # noqa: F401

pytestmark = pytest.mark.stack

ORDERS = 30_000
FILL = (
    f"""
    INSERT INTO orders (order_key, version, facets, changed_at, platform, shop, order_id, status,
        received_at, reservation, ignored, first_received_at, first_written_at, written_at)
    SELECT 'mall:main:' || n, 1, 63, at, 'mall', 'main', n::text,
        CASE WHEN n % 10000 = 0 THEN 'CANCELLED' ELSE 'PAID' END,
        at, 'reserved', 0, at, at, at
    FROM generate_series(1, {ORDERS}) AS n,
        LATERAL (SELECT '2026-06-01T00:00:00Z'::timestamptz + n * interval '1 s' AS at) AS moment
    """,  # noqa: S608  a number of ours
    f"""
    INSERT INTO order_lines (order_key, line_no, version, line_id, sku, quantity)
    SELECT 'mall:main:' || n, 0, 1, '1', 'SKU-' || n % 3000, 1
    FROM generate_series(1, {ORDERS}) AS n
    """,  # noqa: S608
    f"""
    INSERT INTO order_details (order_key, version, body, found_by)
    SELECT 'mall:main:' || n, 1, decode(repeat('ab', 400), 'hex'),
        ARRAY['tel:' || lpad((n % 10000)::text, 4, '0'), 'parcel:SF' || n]
    FROM generate_series(1, {ORDERS}) AS n
    """,  # noqa: S608
    f"""
    INSERT INTO holds (order_key, sku, version, bucket, quantity, changed_at, verb, moves)
    SELECT 'mall:main:' || n, 'SKU-' || n % 3000, n, 'occupied', 1, now(), 'hold', '1'
    FROM generate_series(1, {ORDERS}) AS n
    """,  # noqa: S608
    """
    INSERT INTO stock (sku, version, changed_at, available, locked, occupied, reserved, frozen)
    SELECT 'SKU-' || n, 1, now(), 0, 0, 10, 0, 0 FROM generate_series(0, 2999) AS n
    """,
    f"""
    INSERT INTO order_annotations (order_key, version, labels, fields, words, changed_by)
    SELECT 'mall:main:' || n, 1, ARRAY['vip'], '{{}}',
        ARRAY['label:vip'] || CASE WHEN n % 1000 = 0 THEN ARRAY['field:gift=red'] ELSE '{{}}' END,
        'mei'
    FROM generate_series(1, {ORDERS}) AS n
    """,  # noqa: S608
    # One SKU sells well: very many moved it, and each order only once.
    """
    INSERT INTO stock_ledger (sku, version, at, verb, quantity, target, available, locked, occupied,
        reserved, frozen, cause, chain)
    SELECT 'SKU-1', n, '2026-06-01T02:00:00Z'::timestamptz + n * interval '1 s', 'hold', 1,
        'occupied', 0, 0, 10, 0, 0, 'test', sha256('x')
    FROM generate_series(1, 5000) AS n
    """,
    "INSERT INTO orders_to_ship SELECT * FROM orders_that_can_go",
    # As autovacuum does it: entries of the GIN index go to their places.
    "VACUUM ANALYZE",
)
ANY = (None, "", None, None, None, None, None, SCAN_MAX, PAGE + 1)


@pytest.fixture(scope="module")
def filled() -> Iterator[Database]:
    """Filled once: the tests only look, or change what the others do not look at."""
    with asyncio.Runner() as runner:
        made = empty_database()
        there = runner.run(made.__aenter__())
        try:
            runner.run(_fill_with_orders(there))
            yield there
        finally:
            runner.run(made.__aexit__(None, None, None))


async def _fill_with_orders(there: Database) -> None:
    await schema.migrate(
        there.owner,
        ledger=schema.role_of(there.ledger),
        reader=schema.role_of(there.reader),
        console=schema.role_of(there.console),
    )
    async with there.connected() as connection:
        for statement in FILL:
            await connection.execute(statement)


async def plan(filled: Database, name: str, *values: Any) -> tuple[set[str], set[str]]:
    """Return the indexes that a statement uses, and the tables that it reads whole."""
    async with filled.connected("reader") as connection:
        (found,) = await connection.fetchrow(f"EXPLAIN (FORMAT JSON) {sql(name)}", *values)
    used: set[str] = set()
    whole: set[str] = set()

    def look(node: dict[str, Any]) -> None:
        if index := node.get("Index Name"):
            used.add(index)
        if node["Node Type"] == "Seq Scan":
            whole.add(node["Relation Name"])
        for each in node.get("Plans", ()):
            look(each)

    look(json.loads(found)[0]["Plan"])
    return used, whole


LATER = (datetime(2026, 6, 1, 4, tzinfo=UTC), "mall:main:9")


async def test_the_list_walks_back_over_an_index_and_reads_no_table_whole(filled: Database) -> None:
    for start in ((None, ""), LATER):
        for status in (None, "CANCELLED"):
            values = (*start, None, status, None, None, None, SCAN_MAX, PAGE + 1)
            assert await plan(filled, "orders_walked", *values) == ({"orders_by_time"}, set())
        end = (*start, None, SCAN_MAX)
        assert await plan(filled, "orders_walk_end", *end) == ({"orders_by_time"}, set())


@pytest.mark.parametrize(
    ("word", "words"),
    [("12345", ["parcel:12345"]), ("SKU-7", ["parcel:SKU-7"]), ("0007", ["tel:0007"])],
)
async def test_a_word_is_looked_up_in_its_indexes(
    filled: Database, word: str, words: list[str]
) -> None:
    used, whole = await plan(filled, "orders_found", *ANY, word, words, [])

    assert whole == set()
    assert used >= {
        "orders_order_id", "orders_pkey", "order_lines_sku", "order_details_found_by",
    }  # fmt: skip
    used, whole = await plan(filled, "orders_found", *ANY, word, words, ["label:vip"])
    assert ("order_annotation_words_pkey" in used, whole) == (True, set())


async def test_orders_with_a_label_are_walked_over_its_words_and_no_table_is_read_whole(
    filled: Database,
) -> None:
    for start in ((None, ""), LATER):
        for status in (None, "CANCELLED"):
            values = (*start, None, status, None, None, None, SCAN_MAX, PAGE + 1, "label:vip")
            for others in ([], ["field:gift=red"]):
                used, whole = await plan(filled, "orders_annotated", *values, others)
                assert whole == set()
                assert used <= {"orders_pkey", "order_annotation_words_pkey", "orders_by_time"}
        end = (*start, None, SCAN_MAX, "label:vip")
        assert await plan(filled, "orders_annotated_end", *end) == (
            {"order_annotation_words_pkey"},
            set(),
        )
    keys = [f"mall:main:{n}" for n in range(1, 51)]
    assert await plan(filled, "annotations_of", keys) == ({"order_annotations_pkey"}, set())


async def test_orders_are_found_by_all_that_they_carry_and_page_by_page(filled: Database) -> None:
    async with Reads(filled.reader) as reads:
        both = await reads.orders_annotated(*ANY, "field:gift=red", ["label:vip"])
        by_word = await reads.orders_found(*ANY, "SKU-1000", [], ["field:gift=red"])
        none = await reads.orders_found(*ANY, "SKU-7", [], ["field:gift=red"])
        rare = await reads.orders_annotated(*ANY[:7], 12, PAGE + 1, "field:gift=red", [])
        end = await reads.orders_annotated_end(None, "", None, 12, "field:gift=red")
        assert end is not None
        rest = await reads.orders_annotated(
            end["first_received_at"], end["order_key"], *ANY[2:], "field:gift=red", []
        )

    assert [row["order_id"] for row in both] == [str(n) for n in range(ORDERS, 0, -1_000)]
    assert {row["order_id"] for row in by_word} == {
        str(n) for n in range(1_000, ORDERS, 3_000) if n % 1_000 == 0
    }
    assert none == []
    assert [row["order_id"] for row in [*rare, *rest]] == [row["order_id"] for row in both]


async def test_the_moves_of_an_order_are_looked_up_by_their_numbers_however_many_a_sku_has(
    filled: Database,
) -> None:
    async with filled.connected("reader") as connection:
        rows = await connection.fetch(sql("moves_of_order"), "mall:main:1")
        said = await connection.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {sql('moves_of_order')}", "mall:main:1"
        )
    read = []

    def look(node: dict[str, Any]) -> None:
        if node.get("Relation Name", "").startswith("stock_ledger"):
            read.append(node["Actual Rows"] * node["Actual Loops"])
        for each in node.get("Plans", ()):
            look(each)

    look(json.loads(said)[0]["Plan"])
    assert [(row["sku"], row["version"]) for row in rows] == [("SKU-1", 1)]
    assert read
    assert sum(read) == 1


async def test_the_orders_of_a_sku_that_very_many_have_are_walked_over_and_are_the_same(
    filled: Database,
) -> None:
    used, whole = await plan(filled, "orders_of_common_sku", *ANY, "SKU-7", [])
    assert (used, whole) == ({"orders_by_time", "order_lines_pkey"}, set())
    used, whole = await plan(filled, "is_common_sku", "SKU-7", 2_000)
    assert (used, whole) == ({"order_lines_sku"}, set())

    async with Reads(filled.reader) as reads:
        assert not await reads.is_common_sku("SKU-7", 11)
        assert await reads.is_common_sku("SKU-7", 10)
        for more in ([], ["field:gift=red"]):
            walked = await reads.orders_of_common_sku(*ANY[:7], ORDERS, PAGE + 1, "SKU-1000", more)
            assert walked == await reads.orders_found(*ANY, "SKU-1000", [], more)
            assert walked
        [by_id] = await reads.orders_of_common_sku(*ANY, "12345", [])
        first = await reads.orders_of_common_sku(*ANY[:7], 5_000, PAGE + 1, "SKU-7", [])
    assert by_id["order_id"] == "12345"
    assert [row["order_id"] for row in first] == ["27007"]


async def test_what_can_go_now_is_walked_over_in_its_own_list_and_nothing_is_read_whole(
    filled: Database,
) -> None:
    for sku, warehouse, index in (
        (None, None, "orders_to_ship_by_time"),
        ("SKU-7", None, "holds_open"),
        (None, "ningbo", "orders_to_ship_of_warehouse"),
    ):
        values = (None, "", None, None, None, sku, warehouse, PAGE + 1)
        used, whole = await plan(filled, "to_ship", *values)
        assert (used >= {"orders_pkey", "holds_pkey", index}, whole) == (True, set())
    keys = [f"mall:main:{n}" for n in range(1, 51)]
    used, whole = await plan(filled, "to_pack", keys)
    assert (used, whole) == ({"orders_pkey", "holds_pkey"}, set())
    assert await plan(filled, "lines_to_pack", keys) == ({"order_lines_pkey"}, set())


async def test_what_nobody_has_mapped_is_looked_up_from_the_orders_that_wait(
    filled: Database,
) -> None:
    used, whole = await plan(filled, "unmapped_listed", None, None, 20_000, 200)

    assert (used, whole) == ({"orders_waiting", "order_lines_pkey"}, set())


async def test_marks_are_looked_up_by_their_keys(filled: Database) -> None:
    used, whole = await plan(filled, "marks_of_orders", ["mall:main:1", "mall:main:2"])
    assert (used, whole) == (
        {"orders_pkey", "holds_pkey", "order_details_pkey", "order_annotations_pkey"},
        set(),
    )

    used, whole = await plan(filled, "marks_of_skus", ["SKU-1"])
    assert (used, whole) == ({"stock_pkey"}, set())


async def test_a_rare_status_is_found_page_by_page_with_so_many_looked_at_each(
    filled: Database,
) -> None:
    async with Reads(filled.reader) as reads:
        first = await reads.orders_walked(
            None, "", None, "CANCELLED", None, None, None, 12_000, PAGE + 1
        )
        end = await reads.orders_walk_end(None, "", None, 12_000)
        assert end is not None
        rest = await reads.orders_walked(
            end["first_received_at"], end["order_key"], None, "CANCELLED", None, None, None,
            SCAN_MAX, PAGE + 1,
        )  # fmt: skip

    assert [row["order_id"] for row in first] == ["30000", "20000"]
    assert end["order_key"] == "mall:main:18001"
    assert [row["order_id"] for row in rest] == ["10000"]


@pytest.mark.parametrize(
    ("word", "words", "finds"),
    [
        ("12345", ["parcel:12345"], {"12345"}),
        ("mall:main:77", ["parcel:MALL:MAIN:77"], {"77"}),
        ("SF77", ["parcel:SF77"], {"77"}),
        ("0077", ["parcel:0077", "tel:0077"], {"77", "10077", "20077"}),
        ("SKU-2999", ["parcel:SKU-2999"], {str(n) for n in range(2_999, ORDERS, 3_000)}),
        ("SF", ["parcel:SF"], set()),
    ],
)
async def test_a_word_finds_what_is_called_so_and_nothing_else(
    filled: Database, word: str, words: list[str], finds: set[str]
) -> None:
    async with Reads(filled.reader) as reads:
        rows = await reads.orders_found(*ANY, word, words, [])

    assert {row["order_id"] for row in rows} == finds


async def test_a_mark_changes_with_the_order_its_holds_and_its_details(filled: Database) -> None:
    key, seen = "mall:main:1", set()
    async with Reads(filled.reader) as reads, filled.connected() as connection:
        for change in (
            "SELECT 1",
            "UPDATE orders SET version = 2 WHERE order_key = $1",
            "UPDATE holds SET version = version + 1 WHERE order_key = $1",
            "UPDATE order_details SET version = 2 WHERE order_key = $1",
        ):
            await connection.execute(change, *([key] if "$1" in change else []))
            seen.add((await reads.marks([key], []))["order", key])

    assert len(seen) == 4


async def test_details_from_before_are_found_after_the_migration(database: Database) -> None:
    details = OrderDetails(
        order="mall:main:1", version=1, buyer=Buyer(phone="+8613912349876"), receiver=None,
        invoice=None, shipments=(Shipment(tracking_number="SF 17"),), notices=(),
    )  # fmt: skip
    async with database.connected() as connection:
        for n in range(2_001):  # more than it takes at a time
            body = msgpack.encode(details) if n == 2_000 else msgpack.encode(
                OrderDetails(order=f"a:b:{n}", version=1, buyer=None, receiver=None, invoice=None,
                             shipments=(), notices=())
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO order_details (order_key, version, body) VALUES ($1, 1, $2)",
                f"a:b:{n:04}", body,
            )  # fmt: skip

    await _fill(database)

    assert await database.rows(
        "SELECT order_key, found_by FROM order_details WHERE found_by IS NOT NULL"
    ) == [("a:b:2000", ["tel:9876", "parcel:SF17"])]


async def _fill(database: Database) -> None:
    file = schema.MIGRATIONS / "versions" / "0011_console.py"
    spec = importlib.util.spec_from_file_location("console_migration", file)
    assert spec is not None
    assert spec.loader is not None
    migration = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(migration)
    engine = create_async_engine(sa.make_url(database.owner).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        await connection.run_sync(migration._fill)
    await engine.dispose()


async def test_the_console_role_may_do_its_own_and_nothing_else(database: Database) -> None:
    async with database.connected("console") as connection:
        rights = await connection.fetch(
            "SELECT table_name::text FROM information_schema.table_privileges"
            " WHERE grantee = current_user ORDER BY 1"
        )
    assert {row[0] for row in rights} == set(schema.CONSOLE_GRANTS)
    for role, statement in (
        ("console", "DELETE FROM console_audit"),
        ("console", "UPDATE console_audit SET why = ''"),
        ("console", "SELECT * FROM orders"),
        ("console", "DELETE FROM console_users"),
        ("reader", "SELECT * FROM console_users"),
        ("reader", "SELECT * FROM console_sessions"),
        ("reader", "SELECT * FROM console_audit"),
        ("operations", "SELECT * FROM console_users"),
        ("ledger", "SELECT * FROM console_sessions"),
    ):
        async with database.connected(role) as connection:
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(statement)


async def test_who_notes_things_writes_no_history_of_it_and_changes_no_code(
    database: Database,
) -> None:
    for role, statement in (
        ("operations", "UPDATE labels SET code = 'x'"),
        ("operations", "UPDATE custom_fields SET kind = 'text'"),
        ("operations", "DELETE FROM labels"),
        ("operations", "DELETE FROM order_annotations"),
        ("operations", "UPDATE definition_changes SET by = 'x'"),
        ("operations", "INSERT INTO order_annotation_words VALUES ('x', now(), 'x')"),
        ("operations", "DELETE FROM order_annotation_changes"),
        ("reader", "UPDATE labels SET zh = 'x'"),
        ("ledger", "SELECT * FROM order_annotations"),
        ("console", "SELECT * FROM labels"),
    ):
        async with database.connected(role) as connection:
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(statement)


async def test_whatever_a_writer_forgot_to_ask_a_version_is_the_next_one(
    filled: Database,
) -> None:
    key = "mall:main:5"
    async with filled.connected() as connection:
        await connection.execute(
            "UPDATE order_annotations SET version = 2, words = '{label:a}', labels = '{a}'"
            " WHERE order_key = $1",
            key,
        )
        for statement in (
            "UPDATE order_annotations SET version = 2 WHERE order_key = $1",
            "UPDATE order_annotations SET version = 9 WHERE order_key = $1",
            "INSERT INTO order_annotations VALUES ($1 || 'x', 1, '{}', '{}', '{}', now(), 'mei')",
        ):
            with pytest.raises(Exception, match="annotated"):
                await connection.execute(statement, key)

    assert await filled.rows(
        "SELECT version, labels_before, labels FROM order_annotation_changes WHERE order_key = $1"
        " ORDER BY version",
        key,
    ) == [(1, [], ["vip"]), (2, ["vip"], ["a"])]
    assert await filled.rows(
        "SELECT word FROM order_annotation_words WHERE order_key = $1", key
    ) == [("label:a",)]


async def test_a_mark_changes_with_what_is_noted_and_with_an_exception(filled: Database) -> None:
    key, seen = "mall:main:9", set()
    async with Reads(filled.reader) as reads, filled.connected() as connection:
        seen.add((await reads.marks([key], []))["order", key])
        await connection.execute(
            "UPDATE order_annotations SET version = version + 1 WHERE order_key = $1", key
        )
        seen.add((await reads.marks([key], []))["order", key])
        await connection.execute(
            "INSERT INTO parked (id, stage, cause, field, reason, topic, partition, record_offset,"
            " key, value, attempts, first_seen_at, last_seen_at)"
            " VALUES ('a/0/1', 'intake', 'bug', '', '', 'a', 0, 1, '', '', 1, now(), now())"
        )
        for change in ("attempts = 2", "edits = 1", "settled_at = now()"):
            seen.add((await reads.marks([], [], ["a/0/1"]))["exception", "a/0/1"])
            await connection.execute(f"UPDATE parked SET {change}")  # noqa: S608  ours
        seen.add((await reads.marks([], [], ["a/0/1"]))["exception", "a/0/1"])

    assert len(seen) == 6
