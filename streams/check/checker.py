"""
Hands every record to the witnesses, in an order in which each knows what it needs.

Pure: records and rows come in as values, findings go out. `run.py` feeds it from the broker and
PostgreSQL, the tests from lists. `PHASES` is the order of reading; within a phase the order of
partitions does not matter.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from streams.check.asides import Details
from streams.check.demands import compare_orders, compare_stock
from streams.check.feedlog import FeedLog
from streams.check.journey import Journey
from streams.check.keeping import Changelog, whole
from streams.check.lanes import Lanes
from streams.check.orders import OrderFold
from streams.check.report import STUMBLES, Claims, Finding, Place
from streams.check.stock import StockFold
from streams.check.wire import (
    Announcement,
    Event,
    Letter,
    Record,
    fingerprint,
    open_announcement,
    open_event,
    open_letter,
    tagged,
)
from streams.check.words import ABOUT_ORDERS, INBOXES, PARKED_FIELDS
from streams.topics import (
    OPERATOR_COMMANDS,
    ORDER_COMMANDS,
    ORDER_DETAILS,
    ORDER_EVENTS,
    PARKED,
    RAW,
    RAW_HELD,
    STOCK_COMMANDS,
    STOCK_EVENTS,
    changelog,
)

RAW_TOPICS = tuple(topic.name for topic in RAW)
CHANGELOGS = {changelog(keeper).name: keeper for keeper in ("orders", "stock")}
#: The order of reading: what was parked and asked is known before its outcome is met.
PHASES: tuple[tuple[str, ...], ...] = (
    (PARKED.name,),
    (*RAW_TOPICS, RAW_HELD.name, OPERATOR_COMMANDS.name),
    (STOCK_COMMANDS.name,),
    (ORDER_COMMANDS.name,),
    (ORDER_EVENTS.name, STOCK_EVENTS.name, ORDER_DETAILS.name),
    tuple(CHANGELOGS),
)
#: Folded from zero: a record that retention took away would leave the verdict without its ground.
FROM_ZERO = tuple(topic for phase in PHASES[:-1] for topic in phase)
FROM_TOPICS = ("I0", "I1", "I2", "I3", "T21", "I4", "I5", "I6", "I7", "I8", "I10", "I12", "I13")
#: Where keepers send to: an epoch of theirs may be announced.
NUMBERED = frozenset(
    topic.name
    for topic in (STOCK_COMMANDS, ORDER_COMMANDS, ORDER_EVENTS, STOCK_EVENTS, ORDER_DETAILS, PARKED)
)
#: How long past its deadline a hold may live.
PATIENCE_MS = 60_000
_OUTSIDE = frozenset(
    {
        "ReceiveStock", "AdjustStock", "FreezeStock", "UnfreezeStock", "CountStock", "AllotStock",
        "GiveBackStock",
    }
)  # fmt: skip
#: An operator's command as intake sends it to the stock keeper: as it came, or as refused.
_SENT_ON = _OUTSIDE | {"RefuseStock"}

Ends = Mapping[tuple[str, int], int]


class Checker:
    """All witnesses. Fed phase by phase, closed once."""

    def __init__(
        self, now_ms: int, feed: FeedLog | None = None, claims: Claims | None = None
    ) -> None:
        self.claims = claims if claims is not None else Claims()
        self.prefix = ""
        self.records = 0
        self._now_ms = now_ms
        self._feed = feed
        self.lanes = Lanes(self.claims["I7"])
        self.journey = Journey(self.claims, self.unprefixed)
        self.stock = StockFold(self.claims)
        self.orders = OrderFold(self.claims, self.journey.asks, self.journey.statements)
        self.details = Details()
        self.changelogs = {
            keeper: Changelog(keeper, self.claims, self.unprefixed)
            for keeper in CHANGELOGS.values()
        }
        self._of_stock: dict[str, Callable[[dict[str, Any]], None]] = {
            "stock.moved": self.stock.moved,
            "stock.ignored": self.stock.ignored_letter,
            "stock.quota": self.stock.quota_changed,
            "stock.shortfall": self.stock.shortfall_changed,
            "stock.answered": self.stock.answered_command,
        }
        self._takers: dict[str, Callable[[Record, Place], None]] = {
            PARKED.name: self._parked,
            OPERATOR_COMMANDS.name: self._operator_command,
            STOCK_COMMANDS.name: self._stock_command,
            ORDER_COMMANDS.name: self._order_command,
            ORDER_EVENTS.name: self._order_event,
            STOCK_EVENTS.name: self._stock_event,
            ORDER_DETAILS.name: self._detail,
            **dict.fromkeys(RAW_TOPICS, self._raw),
            RAW_HELD.name: self.journey.set_aside,
            **{name: self.changelogs[keeper].take for name, keeper in CHANGELOGS.items()},
        }

    def unprefixed(self, topic: str) -> str:
        """Return a topic's name as it is declared."""
        return topic.removeprefix(self.prefix)

    def take(self, topic: str, partition: int, records: Iterable[Record]) -> None:
        """Take *records* of one partition, in the order of their offsets."""
        taker, count = self._takers[topic], 0
        numbered = topic in NUMBERED
        for record in records:
            count += 1
            place = Place(topic, partition, record.offset)
            try:
                if not (numbered and self._announced(record, place)):
                    taker(record, place)
            except STUMBLES as error:
                self._foreign(place, f"{type(error).__name__}: {error}")
        self.records += count

    def _foreign(self, place: Place, why: str) -> None:
        self.claims["I7"].figures["foreign"] += 1
        self.claims["I7"].wrong(str(place), "a message of ours, with all of its fields", why)

    # --- one record ------------------------------------------------------------------------------

    def _raw(self, record: Record, place: Place) -> None:
        self.journey.raw(record, place)
        if self._feed is not None:
            self._feed.raw(record, place)

    def _fresh(self, said: Letter | Event, record: Record, place: Place) -> bool:
        return self.lanes.fresh(said.sender, said.epoch, said.number, fingerprint(record), place)

    def _announced(self, record: Record, place: Place) -> bool:
        said = open_announcement(record)
        if said is None:
            return False
        self.lanes.announce(said.sender, said.epoch, place)
        keeper, _, partition = said.sender.partition("/p")
        if (place.topic, place.partition) == (INBOXES[keeper], int(partition)):
            self._started(said, record, place)
        return True

    def _started(self, said: Announcement, record: Record, place: Place) -> None:
        claim, headers = self.claims["I13"], dict(record.headers)
        claim.figures["epochs"] += 1
        for name in ("operator", "reason"):
            if not headers.get(name):
                claim.wrong(f"{place}: epoch {said.epoch} of {said.sender}", f"its {name}", "none")

    def _parked(self, record: Record, place: Place) -> None:
        letter = open_letter(record.value)
        tag, fields = tagged(letter.body) if letter else ("", [])
        if letter is None or tag != "Parked" or len(fields) < len(PARKED_FIELDS):
            self._foreign(place, "not a parked message")
        elif not letter.sender or self._fresh(letter, record, place):
            self.journey.park(fields, place)

    def _operator_command(self, record: Record, place: Place) -> None:
        letter = open_letter(record.value)
        tag, fields = tagged(letter.body) if letter else ("", [])
        if tag in _OUTSIDE | ABOUT_ORDERS and fields:
            self.journey.operator_command(fields, record, place)
        else:
            self.journey.unreadable(record, place)

    def _stock_command(self, record: Record, place: Place) -> None:
        letter = open_letter(record.value)
        if letter is None:
            self.journey.unreadable(record, place)
            return
        if letter.sender and not self._fresh(letter, record, place):
            return
        tag, fields = tagged(letter.body)
        move = _moves(tag, fields)
        if tag in _SENT_ON and fields:
            self.journey.keeper_command(fields, record, place)
        elif tag == "HoldStock":
            self.journey.hold_letter(fields, record, place)
        elif tag == "ConfirmHold":
            self.journey.confirm_letter(fields, record, place)
        elif tag == "EndQuota":
            self.claims["I4"].figures["wakes"] += 1
        elif move is not None:
            self.journey.move_letter(move, record, place)
        else:
            self.journey.unreadable(record, place)

    def _order_command(self, record: Record, place: Place) -> None:
        letter = open_letter(record.value)
        if letter is None:
            self.journey.unreadable(record, place)
            return
        if letter.sender and not self._fresh(letter, record, place):
            return
        tag, fields = tagged(letter.body)
        if tag == "ObserveOrder":
            self.journey.observe(fields, record, place)
        elif tag == "StockAnswered":
            self.journey.answer(fields)
        elif tag in ABOUT_ORDERS and fields:
            self.journey.keeper_command(fields, record, place)
        elif tag in ("ExpireHold", "RemindOrder"):
            self.claims["I4"].figures["wakes"] += 1
        else:
            self.journey.unreadable(record, place)

    def _event(self, record: Record, place: Place) -> dict[str, Any] | None:
        event = open_event(record)
        if event is None:
            self._foreign(place, "not an event with CloudEvents headers")
            return None
        if event.fault:
            self._foreign(place, event.fault)
        return event.said if self._fresh(event, record, place) else None

    def _order_event(self, record: Record, place: Place) -> None:
        event = self._event(record, place)
        if event is None:
            return
        if event["event"] == "order.answered":
            self.stock.answered_command(event)
            self.journey.command_answered(event)
        else:
            self.journey.order_event(event)
            self.orders.told(event, record.value or b"", record.offset)

    def _stock_event(self, record: Record, place: Place) -> None:
        event = self._event(record, place)
        if event is None:
            return
        take = self._of_stock.get(event["event"])
        if take is None:
            self._foreign(place, f"event {event['event']!r}")
            return
        take(event)
        if event["event"] == "stock.answered":
            self.journey.command_answered(event)
        elif event.get("order") is not None:
            self.journey.stock_event(event)

    def _detail(self, record: Record, place: Place) -> None:
        letter = open_letter(record.value)
        tag, fields = tagged(letter.body) if letter else ("", [])
        if letter is None or tag != "OrderDetails":
            self._foreign(place, "not the details of an order")
        elif self._fresh(letter, record, place):
            self.details.take(fields[0], fields[1], letter.body)

    # --- at the end ------------------------------------------------------------------------------

    def settle(self, begins: Ends, ends: Ends) -> None:
        """Compare what the witnesses heard with each other; the log is read."""
        whole(self.claims, begins, FROM_ZERO)
        self.claims["I0"].figures["records"] += self.records
        self.journey.close()
        self.stock.close(self._now_ms, PATIENCE_MS)
        self.orders.close()
        for keeper in self.changelogs.values():
            keeper.close(ends, self.lanes)
        compare_stock(self.claims, self.stock, self.changelogs["stock"].rows())
        compare_orders(
            self.claims,
            self.orders,
            self.stock,
            self.journey.statements,
            self.changelogs["orders"].rows(),
        )
        self.lanes.close()
        if self._feed is not None:
            self._feed.close()

    def findings(self) -> list[Finding]:
        """Return what was found, of every invariant that the topics alone can show."""
        for id_ in FROM_TOPICS:
            _ = self.claims[id_]
        return self.claims.close()


def _moves(tag: str, fields: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return (verb, order, SKU, cause) of a letter whose outcome is one move."""
    match tag:
        case "OccupyStock" | "ShipStock":
            return tag.removesuffix("Stock").lower(), *fields[:3]
        case "ReleaseStock":
            return fields[2], fields[0], fields[1], fields[3]
        case "ReturnStock":
            verb = "return" if fields[3] == "sellable" else "return_frozen"
            return verb, fields[0], fields[1], fields[7]
        case _:
            return None
