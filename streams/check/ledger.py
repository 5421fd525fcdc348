"""
PostgreSQL against the events: what is stored is what they come to, each of them once.

Pure: rows come in as mappings, column by name. Comparing strikes out what was found, so what is
left at the end is what PostgreSQL lacks.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import json, msgpack

from streams.check.checker import Checker, Ends
from streams.check.orders import AMOUNTS, TIMES, Story
from streams.check.stock import Sku
from streams.check.words import BUCKETS, GOES_BACK, KEEPERS, PUBLIC_LINE, SHORTFALL, TO_SHIP

Row = Mapping[str, Any]
_pack = msgpack.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
#: Stands for a topic where a delivery that nobody took is parked: no topic has it.
_DELIVERIES = "deliveries"
#: The topics the ledger reads.
LEDGER_TOPICS = frozenset({"order-events", "stock-events", "order-details", "parked"})
#: Opens the source under which an announced epoch is kept.
_SAID_OF = "announced "
_NOTHING = "nothing published that says so"
#: An event that was found in PostgreSQL.
_FOUND = 0


def ms(at: datetime | int | None) -> int | None:
    """Return an instant as ms since 1970, exactly; what is a number already stays."""
    return (at - _EPOCH) // _MS if isinstance(at, datetime) else at


class LedgerCheck:
    """Compares PostgreSQL's tables with what *checker* folded. Used once, after its `settle`."""

    def __init__(self, checker: Checker) -> None:
        self._claims = checker.claims
        self._stock = checker.stock
        self._orders = checker.orders
        self._journey = checker.journey
        self._details = dict(checker.details.last)
        self._lanes = checker.lanes
        self._balances: set[str] = set()
        self._holds: set[tuple[str, str]] = set()
        self._rows: set[str] = set()
        self._lined: set[str] = set()
        self._lines: tuple[str, list[Row]] = ("", [])
        self._ignored = self._stock.ignored.copy()
        self._answers = dict(self._stock.answers)
        self._shortfalls = dict(self._stock.shortfalls)
        self._returns = dict(self._orders.returns)
        self._to_ship: dict[tuple[str, str], int | None] = {}
        #: Of orders of which nobody said when they were paid: when they first came.
        self._came: dict[str, int | None] = {}
        self._quotas: set[tuple[str, str]] = set()
        self._parked: set[str] = set()
        self._positions: dict[tuple[str, int], int] = {}
        self._sources: dict[tuple[str, int, str], tuple[int, int]] = {}
        self._announced: dict[tuple[str, int, str], int] = {}
        #: Table -> what takes one of its rows. The names are PostgreSQL's.
        self.takers: dict[str, Callable[[Row], None]] = {
            "stock": self._balance,
            "stock_ledger": self._move,
            "holds": self._hold,
            "quotas": self._quota,
            "shortfalls": self._shortfall,
            "returns": self._return,
            "orders": self._order,
            "order_lines": self._line,
            "order_events": self._event,
            "order_details": self._detail,
            "releases_ignored": self._release,
            "command_answers": self._answer,
            "parked": self._park,
            "sink_positions": self._position,
            "sink_sources": self._source,
            "orders_to_ship": self._can_go,
        }

    def take(self, table: str, rows: Iterable[Row]) -> None:
        """Take rows of *table*; lines come ordered by order and number."""
        taker = self.takers[table]
        for row in rows:
            taker(row)

    # --- stock -----------------------------------------------------------------------------------

    def _balance(self, row: Row) -> None:
        claim, sku = self._claims["I1.postgres"], self._stock.skus.get(row["sku"])
        self._balances.add(row["sku"])
        buckets = (*BUCKETS, SHORTFALL)
        found = [[row[bucket] for bucket in buckets], row["version"], ms(row["changed_at"])]
        expected = [sku.balance, sku.version, sku.at_ms] if sku else _NOTHING
        claim.same(f"stock {row['sku']} (balance, version, changed)", expected, found)

    def _move(self, row: Row) -> None:
        claim = self._claims["I7.postgres"]
        claim.figures["stock_ledger"] += 1
        where = f"stock_ledger {row['sku']} version {row['version']}"
        sku = self._stock.skus.get(row["sku"])
        published = sku.moves.pop(row["version"], None) if sku else None
        if published is None:
            claim.wrong(where, _NOTHING, "a row, or one more row")
            return
        found = [
            ms(row["at"]), row["verb"], row["quantity"], row["source"], row["target"],
            *[row[bucket] for bucket in BUCKETS], row["order_key"], ms(row["deadline_at"]),
            row["command_id"], row["operator"], row["reason"], row["cause"],
            row["shortfall"], row["held"], row["quota"],
        ]  # fmt: skip
        if _pack(found) != published:
            claim.wrong(where, msgpack.decode(published), found)

    def _hold(self, row: Row) -> None:
        pair = (row["order_key"], row["sku"])
        self._holds.add(pair)
        sku = self._stock.skus.get(row["sku"])
        hold = sku.holds.get(row["order_key"]) if sku else None
        live = row["ended_at"] is None
        found: list[Any] = [live, row["quantity"], row["version"]]
        expected: object = _NOTHING
        if hold is not None:
            expected = [hold.live, hold.quantity, hold.version]
            if hold.live and live:
                expected = [*expected, hold.bucket, hold.deadline_ms]
                found += [row["bucket"], ms(row["deadline_at"])]
        where = f"holds {pair[1]} by {pair[0]} (live, quantity, version …)"
        self._claims["T21.postgres"].same(where, expected, found)

    def _quota(self, row: Row) -> None:
        claim, pair = self._claims["I1.postgres"], (row["sku"], row["quota"])
        self._quotas.add(pair)
        sku = self._stock.skus.get(pair[0])
        quota = sku.quotas.get(pair[1]) if sku else None
        expected: object = _NOTHING
        if quota is not None:
            expected = [
                quota.starts_ms, quota.ends_ms, quota.allotted, quota.left, quota.version,
                quota.said, quota.ended_ms,
            ]  # fmt: skip
        found = [
            ms(row["starts_at"]), ms(row["ends_at"]), row["allotted"], row["remains"],
            row["version"], ms(row["changed_at"]), ms(row["ended_at"]),
        ]  # fmt: skip
        claim.same(f"quota {pair[1]} of {pair[0]}", expected, found)

    def _shortfall(self, row: Row) -> None:
        said = (
            ms(row["at"]), row["before"], row["shortfall"], row["held"], row["cause"],
        )  # fmt: skip
        expected = self._shortfalls.pop((row["sku"], row["version"]), _NOTHING)
        where = f"shortfalls {row['sku']} version {row['version']}"
        self._claims["I7.postgres"].same(where, expected, said)

    def _return(self, row: Row) -> None:
        said = (
            ms(row["at"]), row["sku"], row["quantity"], row["disposition"], row["command_id"],
            row["operator"], row["reason"],
        )  # fmt: skip
        expected = self._returns.pop((row["order_key"], row["version"]), _NOTHING)
        where = f"returns {row['order_key']} version {row['version']}"
        self._claims["I7.postgres"].same(where, expected, said)

    def _release(self, row: Row) -> None:
        said = (
            row["sku"], row["order_key"], row["verb"], row["refusal"], ms(row["at"]), row["cause"],
        )  # fmt: skip
        self._ignored[said] -= 1
        self._claims["I7.postgres"].figures["releases_ignored"] += 1

    def _answer(self, row: Row) -> None:
        said = (row["sku"], row["refusal"], row["available"], ms(row["at"]))
        expected = self._answers.pop(row["command_id"], _NOTHING)
        self._claims["I7.postgres"].same(f"command_answers {row['command_id']}", expected, said)

    # --- orders ----------------------------------------------------------------------------------

    def _order(self, row: Row) -> None:
        claim, key = self._claims["I8.postgres"], row["order_key"]
        self._rows.add(key)
        story = self._orders.stories.get(key)
        if story is None:
            claim.wrong(f"orders {key}", _NOTHING, "a row")
            return
        claim.figures["orders"] += 1
        if row["paid_at"] is None:
            self._came[key] = ms(row.get("first_received_at"))
        for column, (expected, found) in _columns(key, story, row).items():
            if expected != found:
                claim.wrong(f"orders {key} {column}", expected, found)

    def _line(self, row: Row) -> None:
        key, lines = self._lines
        if row["order_key"] != key:
            self._close_lines()
            key, lines = self._lines = (row["order_key"], [])
        lines.append(row)

    def _close_lines(self) -> None:
        key, rows = self._lines
        if not rows:
            return
        self._lined.add(key)
        claim, story = self._claims["I8.postgres"], self._orders.stories.get(key)
        claim.figures["order_lines"] += len(rows)
        found = [[row[column] for column in PUBLIC_LINE] for row in rows]
        if story is None or _pack(found) != story.lines:
            told = msgpack.decode(story.lines) if story and story.lines else _NOTHING
            claim.wrong(f"order_lines of {key}", told, found)
            return
        versions = [(row["line_no"], row["version"]) for row in rows]
        expected = [(number, story.lines_version) for number in range(1, len(rows) + 1)]
        claim.same(f"order_lines of {key} (number, version)", expected, versions)

    def _event(self, row: Row) -> None:
        claim, version = self._claims["I7.postgres"], row["version"]
        claim.figures["order_events"] += 1
        where = f"order_events {row['order_key']} version {version} ({row['event']})"
        story = self._orders.stories.get(row["order_key"])
        prints = story.prints if story else array("q")
        if not 0 < version <= len(prints) or prints[version - 1] == _FOUND:
            claim.wrong(where, _NOTHING, "a row, or one more row")
            return
        if prints[version - 1] != hash(bytes(row["body"])):
            offset = story.offsets[version - 1] if story else -1
            claim.wrong(where, f"the bytes published at offset {offset}", bytes(row["body"][:200]))
        prints[version - 1] = _FOUND

    def _detail(self, row: Row) -> None:
        claim, key = self._claims["I8.postgres"], row["order_key"]
        last = self._details.pop(key, None)
        if last is None:
            claim.wrong(f"order_details {key}", _NOTHING, "a row")
        elif last != (row["version"], hash(bytes(row["body"]))):
            claim.wrong(f"order_details {key}", f"the letter of version {last.version}", "another")

    def _can_go(self, row: Row) -> None:
        self._to_ship[row["order_key"], row["warehouse"]] = ms(row["since"])

    # --- parked, positions -----------------------------------------------------------------------

    def _park(self, row: Row) -> None:
        claim, id_ = self._claims["I12.postgres"], row["id"]
        claim.figures["parked"] += 1
        claim.figures["settled"] += row["settled_at"] is not None
        self._parked.add(id_)
        if not row["reason"]:
            claim.wrong(f"parked {id_}", "a reason", "none")
            return
        if row["stage"] == "ledger":
            claim.figures["parked_by_the_ledger"] += 1
            return
        if row["topic"] == _DELIVERIES:
            claim.figures["not_delivered"] += 1
            return
        known = self._journey.parked.get(id_)
        if known is None:
            claim.wrong(f"parked {id_}", _NOTHING, "a row")
        else:
            words = (row["stage"], row["cause"], row["field"], row["reason"])
            claim.same(f"parked {id_} (stage, cause, field, reason)", known.words, words)
            if (known.key, known.value) != (_hash(row["key"]), _hash(row["value"])):
                claim.wrong(f"parked {id_}", "the original bytes", "other bytes")

    def _position(self, row: Row) -> None:
        self._positions[row["topic"], row["partition"]] = row["next"]

    def _source(self, row: Row) -> None:
        source = row["source"]
        keeper, _, partition = source.removeprefix(_SAID_OF).partition("/")
        if keeper.isdigit():
            keeper = KEEPERS.get(int(keeper), keeper)
        lane = (row["topic"], row["partition"], f"{keeper}/{partition}")
        if source.startswith(_SAID_OF):
            self._announced[lane] = row["epoch"]
        else:
            self._sources[lane] = (row["epoch"], row["number"])

    # --- at the end ------------------------------------------------------------------------------

    def close(self, ends: Ends) -> None:
        """Say what PostgreSQL lacks, and where its positions stand."""
        self._close_lines()
        self._close_stock()
        self._close_trails()
        self._close_orders()
        for id_ in self._journey.parked.keys() - self._parked:
            self._claims["I12.postgres"].wrong(f"parked {id_}", "a row", "none")
        claim = self._claims["I5.postgres"]
        for (topic, partition), end in ends.items():
            if topic in LEDGER_TOPICS:
                found = self._positions.get((topic, partition), 0)
                claim.same(f"sink_positions {topic}/{partition}", end, found)
                claim.figures["records"] += end
                claim.figures["waiting"] += max(0, end - found)
        lanes = {
            lane: last for lane, last in self._lanes.ends().items() if lane[0] in LEDGER_TOPICS
        }
        for lane in sorted(lanes.keys() | self._sources.keys()):
            where = "sink_sources {}/{} of {}".format(*lane)
            (epoch, last), (known, counted) = (
                each.get(lane, (0, 0)) for each in (lanes, self._sources)
            )
            self._claims["I7.postgres"].same(where, last, counted)
            self._claims["I7.postgres"].same(f"{where}, their epoch", epoch, known)
        for topic, partition in ends:
            if topic in LEDGER_TOPICS:
                told = self._lanes.announced(topic, partition)
                found_ = {
                    lane[2]: epoch
                    for lane, epoch in self._announced.items()
                    if lane[:2] == (topic, partition)
                }
                where = f"sink_sources {topic}/{partition}: epochs announced"
                self._claims["I7.postgres"].same(where, told, found_)

    def _close_stock(self) -> None:
        missing = self._claims["I7.postgres"]
        balances = self._claims["I1.postgres"]
        balances.figures["skus"] += len(self._balances)
        for name, sku in self._stock.skus.items():
            if name not in self._balances:
                balances.wrong(f"stock {name}", sku.balance, "no row")
            for version, move in sku.moves.items():
                missing.wrong(
                    f"stock_ledger {name} version {version}", msgpack.decode(move), "no row"
                )
            self._close_holds(name, sku)
        for said, left in self._ignored.items():
            if left:
                missing.wrong(f"releases_ignored {said}", "one row an event", f"{-left:+d} rows")
        for command, answer in self._answers.items():
            missing.wrong(f"command_answers {command}", answer, "no row")

    def _close_trails(self) -> None:
        for (name, version), said in self._shortfalls.items():
            where = f"shortfalls {name} version {version}"
            self._claims["I7.postgres"].wrong(where, said, "no row")
        for (order, version), back in self._returns.items():
            where = f"returns {order} version {version}"
            self._claims["I7.postgres"].wrong(where, back, "no row")

    def _close_holds(self, name: str, sku: Sku) -> None:
        claim = self._claims["T21.postgres"]
        for order, hold in sku.holds.items():
            claim.figures["open_holds"] += hold.live
            if (order, name) not in self._holds:
                claim.wrong(f"holds {name} by {order}", hold.words(), "no row")
        for quota, row in sku.quotas.items():
            if (name, quota) not in self._quotas:
                self._claims["I1.postgres"].wrong(f"quota {quota} of {name}", row.left, "no row")

    def _close_orders(self) -> None:
        claim, missing = self._claims["I8.postgres"], self._claims["I7.postgres"]
        for key, story in self._orders.stories.items():
            if key not in self._rows:
                claim.wrong(f"orders {key}", f"version {story.version}", "no row")
            if story.lines and key not in self._lined:
                claim.wrong(f"order_lines of {key}", msgpack.decode(story.lines), "no rows")
            for version, print_ in enumerate(story.prints, start=1):
                if print_ != _FOUND:
                    where = f"order_events {key} version {version}"
                    offset = story.offsets[version - 1]
                    missing.wrong(where, f"the event published at offset {offset}", "no row")
        self._close_to_ship()
        for key, last in self._details.items():
            claim.wrong(f"order_details {key}", f"version {last.version}", "no row")

    def _close_to_ship(self) -> None:
        """What can go now by the events: paid, all held, no case, nothing going back."""
        claim, ready = self._claims["I8.postgres"], self._orders_that_can_go()
        for where in sorted(ready.keys() | self._to_ship.keys()):
            place = f"orders_to_ship {where[0]} in {where[1] or 'no warehouse'}"
            if where not in self._to_ship:
                claim.wrong(place, "a row", "none")
            elif where not in ready:
                claim.wrong(place, "no row: it cannot go", "a row")
            elif ready[where] is not None:
                claim.same(f"{place}, since", ready[where], self._to_ship[where])
        claim.figures["to_ship"] += len(self._to_ship)

    def _orders_that_can_go(self) -> dict[tuple[str, str], int | None]:
        """Return (order, warehouse) -> since when it is paid, or here where nobody said that."""
        paid_at = 2 + len(AMOUNTS) + TIMES.index("paid_ms")
        found: dict[tuple[str, str], int | None] = {}
        for name, sku in self._stock.skus.items():
            _, at, warehouse = name.rpartition("@")
            for key, hold in sku.holds.items():
                story = self._orders.stories.get(key)
                if (
                    story is not None and hold.live and hold.bucket == "occupied"
                    and story.announced in TO_SHIP and story.reservation == "reserved"
                    and story.case is None and story.refund not in GOES_BACK
                ):  # fmt: skip
                    since = story.snapshot[paid_at] or self._came.get(key)
                    found[key, warehouse if at else ""] = since
        return found


def _columns(key: str, story: Story, row: Row) -> dict[str, tuple[Any, Any]]:
    """Return of every column what the events say and what PostgreSQL has."""
    platform, shop, order_id = (*key.split(":", 2), "", "")[:3]
    said = story.snapshot
    first_time = 2 + len(AMOUNTS)
    pairs: dict[str, tuple[Any, Any]] = {
        "platform": (platform, row["platform"]),
        "shop": (shop, row["shop"]),
        "order_id": (order_id, row["order_id"]),
        "version": (story.version, row["version"]),
        "changed_at": (story.at_ms, ms(row["changed_at"])),
        "platform_status": (said[0], row["platform_status"]),
        "status_said": (said[1], row["status_said"]),
        "adapter": (said[-2], row["adapter"]),
        "digest": (said[-1], row["digest"]),
        "unmapped": (story.unmapped, _listed(row["unmapped"])),
        "status": (story.announced, row["status"]),
        "refund": (story.refund, row["refund"]),
        "refunded_minor": (story.refunded, row["refunded_minor"]),
        "reservation": (story.reservation, row["reservation"]),
        "attempt": (story.told_attempt, row["attempt"]),
        "deadline_at": (story.deadline_ms, ms(row["deadline_at"])),
        "short": (story.short, _listed(row["short"])),
        "open_case": (story.case, row["open_case"]),
        "ignored": (story.ignored, row["ignored"]),
        "ignored_why": (story.ignored_why, row["ignored_why"]),
    }
    for place, column in enumerate(AMOUNTS, start=2):
        pairs[column] = (said[place], row[column])
    for place, name in enumerate(TIMES, start=first_time):
        column = name.replace("_ms", "_at")
        pairs[column] = (said[place], ms(row[column]))
    if story.received_ms is not None:
        pairs["received_at"] = (story.received_ms, ms(row["received_at"]))
    if story.unmapped is not None:
        pairs["unmapped"] = (story.unmapped, _listed(row["unmapped"]) or [])
    return pairs


def _listed(value: Any) -> list[Any] | None:
    """Return a list, whether PostgreSQL has it as an array or as JSON."""
    if isinstance(value, str):
        value = json.decode(value)
    return None if value is None else list(value)


def _hash(value: Any) -> int:
    return hash(None if value is None else bytes(value))
