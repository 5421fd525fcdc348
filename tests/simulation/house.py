"""
The house in one process: both keepers on a simulated log, with the real rules and the real frames.

No broker, no clock, no threads: a `House` is given commands, told which keeper works on how many
records, and may be told to die between two steps of a frame. What a crash leaves behind is what
the keeper's contract says it leaves: letters in the log that are sent again, rows that are not yet
written. Everything is a function of the calls.
"""

from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from msgspec import Struct, json, msgpack

from agents.frames import POSITION_BYTES, FrameDecider, Inbox, Slice
from agents.letters import CE_ANNOUNCED, PREFIX, Post, State, seal
from schemas.orders import AnyOrderEvent, OrderCommandAnswered
from schemas.stock import AnyStockEvent
from streams.epochs import to_itself, to_receivers
from streams.topics import TOPICS
from streams.topology import LISTENERS, ROUTES
from tables import stock
from tables.order_rows import Order, order_row_key
from tables.spec import Table
from tests.builders import T0

ORDER_EVENTS = json.Decoder(AnyOrderEvent).decode
STOCK_EVENTS = json.Decoder(AnyStockEvent).decode


@dataclass
class Record:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Keeper:
    """One keeper's partition: what is stored of it, and nothing else survives a crash."""

    table: Table
    inbox: Inbox
    post: Post
    rows: dict[bytes, bytes] = field(default_factory=dict)
    state: State = field(default_factory=State)


class Crash(Exception):  # noqa: N818
    """The process died here."""


class House:
    """Both keepers, their inboxes and everything they said."""

    def __init__(self, partitions: int = 2) -> None:
        self.partitions = partitions
        self.now_ms = T0
        self.logs: dict[tuple[str, int], list[Record]] = {}
        self.keepers: dict[tuple[str, int], Keeper] = {}
        for name in ("orders", "stock"):
            table = LISTENERS[name].owns
            assert table is not None
            inbox = LISTENERS[name].reads[0].name
            for partition in range(partitions):
                post = Post(name, table.number, partition, ROUTES, self.partition_of)
                self.keepers[name, partition] = Keeper(table, Inbox(inbox, partition), post)

    def partition_of(self, topic: str, key: bytes) -> int:
        return sum(key) % self.partitions

    def log(self, topic: str, partition: int) -> list[Record]:
        return self.logs.setdefault((topic, partition), [])

    def tell(self, *commands: Struct) -> None:
        """Put commands from outside into the inboxes their routes say."""
        for command in commands:
            route = ROUTES[type(command)]
            key = route.key(command)
            self.append(route.topic, self.partition_of(route.topic, key), key, seal(command))

    def announce(self, name: str, epoch: int) -> None:
        """Tell all who hear a keeper of its next epoch; it has not begun."""
        counts = dict.fromkeys((topic.name for topic in TOPICS), self.partitions)
        for topic, partition, key, value, headers in to_receivers(name, epoch, counts, self.now_ms):
            self.append(topic, partition, key, value, tuple(headers))

    def start_epoch(self, name: str, epoch: int) -> None:
        """Start an epoch of a keeper's letters, as the operator's command does."""
        self.announce(name, epoch)
        for topic, partition, key, value, headers in to_itself(
            name, epoch, self.partitions, "rules changed", "mei"
        ):
            self.append(topic, partition, key, value, tuple(headers))

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        """Let one record stand at the end of a log."""
        log = self.log(topic, partition)
        log.append(Record(len(log), self.now_ms, key, value, headers))

    def waiting(self, name: str, partition: int) -> int:
        keeper = self.keepers[name, partition]
        return len(self.log(*keeper.inbox)) - keeper.state.position

    def work(self, name: str, partition: int, records: int = 1 << 30, die: str = "") -> None:
        """Let one keeper work on the next *records* of its inbox; *die* names where it crashes."""
        keeper = self.keepers[name, partition]
        start = keeper.state.position
        frame = self.log(*keeper.inbox)[start : start + records]
        decider = FrameDecider(keeper.rows, keeper.state, keeper.table, keeper.inbox, keeper.post)
        for slice_ in decider.decide(frame):  # type: ignore[arg-type]
            if die == "before-letters":
                raise Crash
            self._send(slice_, only_half=die == "mid-batch")
            if die in ("mid-batch", "after-letters"):
                raise Crash
            self._commit(keeper, slice_)
            if die == "after-changelog":
                raise Crash

    def _send(self, slice_: Slice, *, only_half: bool) -> None:
        for place, (lane, letters) in enumerate(slice_.letters.lanes.items()):
            if only_half and place % 2:
                continue
            topic, partition = lane.rsplit("/", 1)
            for key, value, headers in letters:
                self.append(topic, int(partition), key, value, headers)

    @staticmethod
    def _commit(keeper: Keeper, slice_: Slice) -> None:
        for key, value in slice_.changes.items():
            if value is None:
                keeper.rows.pop(key, None)
            else:
                keeper.rows[key] = value
        keeper.state = slice_.state

    def settle(
        self,
        random: Random | None = None,
        crashes: float = 0.0,
        turns: int | None = None,
        records: int = 8,
    ) -> None:
        """
        Let both keepers work until nothing waits, or for so many *turns*.

        With *random* in any order, frames of at most *records*, dying with the share of *crashes*.
        """
        for _ in count() if turns is None else range(turns):
            busy = [place for place in self.keepers if self.waiting(*place)]
            if not busy:
                return
            if random is None:
                for place in busy:
                    self.work(*place)
                continue
            place = random.choice(busy)
            die = random.choice(_DEATHS) if random.random() < crashes else ""
            try:
                self.work(*place, records=random.randint(1, records), die=die)
            except Crash:
                continue

    # --- what can be seen -----------------------------------------------------------------------

    def row(self, name: str, key: bytes) -> Any:
        for (keeper_name, _), keeper in self.keepers.items():
            raw = keeper.rows.get(key) if keeper_name == name else None
            if raw is not None:
                return keeper.table.decode_row(raw[POSITION_BYTES:])
        return None

    def balance(self, sku: str) -> stock.Stock:
        row = self.row("stock", stock.stock_key(sku))
        return row if row is not None else stock.Stock()

    def order(self, order_id: str = "1001") -> Order:
        row = self.row("orders", order_row_key(f"taobao:lamps:{order_id}"))
        assert row is not None, f"nothing is known of order {order_id}"
        return row

    def hold(self, sku: str, order_id: str = "1001") -> stock.Hold | None:
        return self.row("stock", stock.hold_key(sku, f"taobao:lamps:{order_id}"))

    def order_events(self, order_id: str = "1001") -> list[Any]:
        """The story of one order, repeats dropped."""
        key = f"taobao:lamps:{order_id}"
        return [
            event
            for event in self.all_order_events()
            if event.order == key and not isinstance(event, OrderCommandAnswered)
        ]

    def all_order_events(self) -> list[Any]:
        """What was told of all orders, answers to operators too, repeats dropped."""
        return self._events("order-events", ORDER_EVENTS)

    def stock_events(self) -> list[Any]:
        return self._events("stock-events", STOCK_EVENTS)

    def _events(self, topic: str, decode: Any) -> list[Any]:
        events, last = [], {}
        for partition in range(self.partitions):
            for record in self.log(topic, partition):
                if CE_ANNOUNCED in record.headers:
                    continue
                headers = dict(record.headers)
                source, number = headers["ce_source"], int(headers["ce_sequence"])
                seen = last.get((partition, source), 0)
                if number <= seen:
                    continue
                assert number == seen + 1, f"event {seen + 1} of {source!r} is lost"
                last[partition, source] = number
                events.append(decode(record.value))
        return events

    def parked(self) -> list[Any]:
        from schemas.parked import Parked  # noqa: PLC0415

        found: dict[str, Any] = {}
        for partition in range(self.partitions):
            for record in self.log("parked", partition):
                assert record.value is not None
                if len(record.value) == PREFIX.size:
                    continue  # an announcement
                parked = msgpack.decode(record.value[PREFIX.size :], type=Parked)
                found[parked.id] = parked
        return list(found.values())

    def contents(self) -> dict[Any, Any]:
        """Every row and counter, byte for byte, without the commit it was written in."""
        return {
            place: (
                {key: value[POSITION_BYTES:] for key, value in keeper.rows.items()},
                msgpack.encode(keeper.state),
            )
            for place, keeper in self.keepers.items()
        }


_DEATHS = ("before-letters", "mid-batch", "after-letters", "after-changelog")


def words(events: list[Any]) -> list[str]:
    """The events as a story: `reserved`, `status:PAID` …"""
    told = []
    for event in events:
        name = event.__struct_config__.tag.split(".")[1]
        match name:
            case "status":
                told.append(f"status:{event.status}")
            case "ignored":
                told.append(f"ignored:{event.why}")
            case "case":
                told.append(f"case:{event.case}")
            case _:
                told.append(name)
    return told
